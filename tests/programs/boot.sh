#!/bin/sh
# boot.sh DIR PYTHON CHECKOUT: a real systemd, with our units, in name spaces of its own.
#
# Its root is this machine's, read only, with a layer above it that is gone with it.  DIR/etc is laid
# over /etc, DIR stands at /run/story.
# The system's own python3 runs our programs: other users may not look into another one's home.
# Device nodes are made, and never bound: units with PrivateDevices= would change the machine's own.
set -e
dir=$1 python=$2 checkout=$3
mount --make-rprivate /
top=$dir/top root=$dir/root
mkdir -p "$top" "$root"
mount -t tmpfs tmpfs "$top"
mkdir "$top/upper" "$top/work"
mount -t overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" overlay "$root"
mkdir -p "$root/opt/tcppipe" "$root/var/log/shared"
cp -R "$checkout/bin" "$checkout/tcppipe" "$root/opt/tcppipe"
for module in daemon lockfile; do
    where=$("$python" -c "import $module, os; print(os.path.dirname($module.__file__))")
    cp -R "$where" "$root/opt/tcppipe"
done
for program in tcppipe tcppiped fetch_logs gen_numbers; do
    printf '#!/bin/sh\nPYTHONPATH=/opt/tcppipe PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 /opt/tcppipe/bin/%s "$@"\n' \
        $program >"$root/usr/local/bin/$program"
    chmod 755 "$root/usr/local/bin/$program"
done
# Nothing of the machine's own starts.
rm -rf "$root"/etc/systemd/system "$root"/etc/rc?.d "$root"/etc/sysusers.d "$root"/etc/tmpfiles.d
mkdir -p "$root/etc/systemd/system"
cp -R "$dir/etc/." "$root/etc"
rm -f "$root/etc/fstab"
touch "$root/etc/fstab"
for place in run tmp dev; do
    mount -t tmpfs -o mode=755 tmpfs "$root/$place"
done
chmod 1777 "$root/tmp"
cd "$root/dev"
mknod null c 1 3; mknod zero c 1 5; mknod full c 1 7; mknod random c 1 8; mknod urandom c 1 9; mknod tty c 5 0; mknod ptmx c 5 2
chmod 666 ./*
mkdir shm pts
ln -s /proc/self/fd fd
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
if ! grep -q " cgroup " /proc/mounts; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    awk '$3 == "cgroup" { sub(".*/", "", $2); print $2, $4 }' /proc/mounts | while read -r name options; do
        mkdir "$root/sys/fs/cgroup/$name"
        what=$(echo "$options" | tr , '\n' | grep -vx -e rw -e relatime -e nosuid -e nodev -e noexec |
            paste -s -d ,)
        case $what in name=*) what=none,$what ;; esac
        mount -t cgroup -o "$what" cgroup "$root/sys/fs/cgroup/$name"
    done
fi
mkdir "$root/run/story"
mount --bind "$dir" "$root/run/story"
ip link set lo up
cd "$root"
exec env -i container=lxc PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    chroot . /lib/systemd/systemd --unit=story.service --show-status=false --log-target=journal
