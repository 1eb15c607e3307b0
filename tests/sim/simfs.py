"""A file system in memory that forgets, on a power cut, what was not made durable.

Has the methods of tcppipe.files.fs.FS.  Inode numbers are given again at once, as ext4
does.  Each call can be made to fail, or to be the last one of its process.
"""

import errno
import io
import os
import stat
from types import SimpleNamespace

ZEROS = 3  # a torn file: the size was written, the data was not
FILE, DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755


SHORT = "short"  # a fault: the call reads or writes less than it was asked to
POWER = "power"  # a fault: the machine loses its power in the call


class ProcessDied(BaseException):
    """The process was killed inside a call (kill -9: nothing of ours runs after it)."""


class Inode:
    """A file: what the kernel shows of it, and what a power cut would leave of it."""

    def __init__(self, number, generation, now):
        self.number = number
        self.generation = generation
        self.data = bytearray()
        self.durable = b""
        self.mtime = now
        self.writers = 0
        self.opened = 0


class Stream(io.RawIOBase):
    """Reads an open file from its beginning."""

    def __init__(self, fs, fd):
        self._fs, self._fd, self._at = fs, fd, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        if whence == 2:
            offset += self._fs.fstat(self._fd).st_size
        elif whence == 1:
            offset += self._at
        self._at = offset
        return self._at

    def tell(self):
        return self._at

    def readinto(self, buffer):
        data = self._fs.pread(self._fd, len(buffer), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _change(names, change):
    """Make a name, change it or take it away."""
    inode, old, new = change
    names.pop(old, None)
    if new is not None:
        names[new] = inode


class SimFS:
    """One machine's disk.  `tick` nanoseconds pass with every change."""

    def __init__(self, rnd):
        self.rnd = rnd
        self.process = None  # who makes the calls; anything that names a process
        self.now = 1_700_000_000_000_000_000
        self.calls = 0
        self.spared = False  # no call fails, and none is counted
        # (number of the call, an errno, ProcessDied, POWER or SHORT, whether a write begins)
        self.plan = None
        self.then = []  # (calls from the last fault on, the same): those that follow
        self.stays = False  # a planned errno is that of all such calls until forget_faults()
        self.out = False  # the power is out: nothing runs until power_cut() has been called
        self.reached = 0  # how many planned faults came
        self.tape = None  # a list: the names of all calls
        self.failing = {}  # name of a call -> errno, for as long as it stands here
        self.count = {}  # name of a call -> how often it was made
        self.device = 1
        self._names = {}
        self._durable_names = {}
        self._journal = []  # (inode, old path or None, new path or None) not durable yet
        self._inodes = {}  # as a set, in the order in which they were made
        self._numbers = 2
        self._free = []
        self._generations = 0
        self.boots = 1
        self._fds = {}
        self._next_fd = 1000

    # --- the machinery

    def _call(self, name):
        if self.spared:
            return
        if self.out:
            raise ProcessDied()
        self.calls += 1
        self.count[name] = self.count.get(name, 0) + 1
        if self.tape is not None:
            self.tape.append(name)
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))
        if self.plan is not None and self.calls >= self.plan[0] and self.plan[1] != SHORT:
            what = self.plan[1]
            self._next_plan()
            self.out = what == POWER
            if what is ProcessDied or what == POWER:
                raise ProcessDied()
            if self.stays:
                self.failing[name] = what
            raise OSError(what, os.strerror(what))

    def _shortened(self, count):
        """How many of `count` bytes the call that was just counted moves."""
        if self.spared or self.plan is None or self.plan[1] != SHORT or self.calls < self.plan[0]:
            return count
        self._next_plan()
        return self.rnd.randint(1, count - 1) if count > 1 else count

    def _next_plan(self):
        self.reached += 1
        self.plan = None
        if self.then:
            calls, what = self.then.pop(0)
            self.plan = (self.calls + calls, what)

    def _tick(self):
        self.now += self.rnd.choice((1, 1000, 4_000_000))
        return self.now

    def _inode(self, path):
        try:
            return self._names[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None

    def _make(self):
        if self._free:
            self._free.sort()
            number = self._free.pop(0)
        else:
            self._numbers += 1
            number = self._numbers
        self._generations += 1
        inode = Inode(number, self._generations, self._tick())
        self._inodes[inode] = True
        return inode

    def _drop(self, inode):
        if inode.opened or inode not in self._inodes:
            return
        names = [*self._names.values(), *self._durable_names.values()]
        if inode not in names and all(change[0] is not inode for change in self._journal):
            del self._inodes[inode]
            self._free.append(inode.number)

    def _status(self, inode):
        return SimpleNamespace(
            st_dev=self.device, st_ino=inode.number, st_size=len(inode.data), st_mtime_ns=inode.mtime,
            st_mode=FILE, st_nlink=1,
        )  # fmt: skip

    # --- what tests do to it

    def end(self, process):
        """A process ends: the kernel closes what it had open."""
        for fd in self.descriptors(process):
            self._close(fd)

    def descriptors(self, process):
        """The descriptors that a process has open."""
        return [fd for fd, entry in self._fds.items() if entry[3] == process]

    def power_cut(self, how=None):
        """Everything that was not made durable is lost, torn, zero, or there after all.

        how: the same for all files (see _torn), or None: for each as it happens.
        """
        self.boots += 1
        self.out = False
        for fd in list(self._fds):
            self._close(fd)
        lost = set()  # whatever depends on a change that is lost, is lost too
        for change in self._journal:
            touched = {part for part in change if part is not None}
            if touched & lost or self.rnd.random() < 0.5:
                lost |= touched
            else:
                _change(self._durable_names, change)
        self._journal = []
        self._names = dict(self._durable_names)
        for inode in list(self._inodes):
            inode.data = bytearray(self._torn(inode, how))
            inode.durable = bytes(inode.data)
            self._drop(inode)

    def _torn(self, inode, how):
        durable, cached = inode.durable, bytes(inode.data)
        if durable == cached:
            return cached
        told, how = how is not None, self.rnd.randrange(5) if how is None else how
        if how == 0:
            return durable
        if how == 1:
            return cached
        least = min(len(durable), len(cached))
        cut = least if told else self.rnd.randint(least, len(cached))
        if not cached.startswith(durable):  # cut or rewritten in place: either of the two
            return durable if how == 2 else cached
        if how == 2:
            return cached[:cut]
        if how == ZEROS:  # the size was written, the data was not
            return cached[:cut] + bytes(len(cached) - cut)
        junk = bytes(self.rnd.randrange(256) for _ in range(len(cached) - cut))
        return cached[:cut] + junk

    def settle_names(self):
        """All names are durable from now on."""
        self._durable_names = dict(self._names)
        self._journal = []

    def content(self, path):
        """The bytes of a file, or b"" when there is none."""
        inode = self._names.get(path)
        return bytes(inode.data) if inode else b""

    def paths(self, prefix=""):
        """All names that begin so, sorted."""
        return sorted(path for path in self._names if path.startswith(prefix))

    def forget_faults(self):
        """No call fails any more."""
        self.plan, self.then, self.stays = None, [], False
        self.failing = {}

    def put(self, path, data, mtime=None):
        """Make a whole file, durable, as another program would."""
        inode = self._make()
        inode.data = bytearray(data)
        inode.durable = bytes(data)
        inode.mtime = mtime or inode.mtime
        old = self._names.get(path)
        self._names[path] = self._durable_names[path] = inode
        self._journal = [change for change in self._journal if path not in change]
        if old:
            self._drop(old)
        return inode

    # --- what FS has

    def open(self, path, flags, mode=0o600):
        self._call("open")
        if flags & os.O_DIRECTORY:
            return self._new_fd(None, flags)
        if path not in self._names:
            if not flags & os.O_CREAT:
                self._inode(path)
            self._rename(self._make(), None, path)
        elif flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        inode = self._names[path]
        if flags & os.O_TRUNC:
            inode.data.clear()
        return self._new_fd(inode, flags)

    def _new_fd(self, inode, flags):
        fd = self._next_fd
        self._next_fd += 1
        self._fds[fd] = [inode, flags, 0, self.process]
        if inode:
            inode.opened += 1
            inode.writers += bool(flags & (os.O_WRONLY | os.O_RDWR))
        return fd

    def close(self, fd):
        self._close(fd)

    def _close(self, fd):
        inode, flags, _at, _process = self._fds.pop(fd)
        if inode:
            inode.opened -= 1
            inode.writers -= bool(flags & (os.O_WRONLY | os.O_RDWR))
            self._drop(inode)

    def dup(self, fd):
        self._call("dup")
        inode, flags, _at, _process = self._fds[fd]
        return self._new_fd(inode, flags)

    def fstat(self, fd):
        self._call("fstat")
        inode = self._fds[fd][0]
        return self._status(inode)

    def stat(self, path):
        self._call("stat")
        return self._status(self._inode(path))

    def pread(self, fd, length, offset):
        self._call("pread")
        data = bytes(self._fds[fd][0].data[offset : offset + length])
        return data[: self._shortened(len(data))]

    def preadv(self, fd, buffers, offset):
        (buffer,) = buffers
        data = self.pread(fd, len(buffer), offset)
        buffer[: len(data)] = data
        return len(data)

    def write(self, fd, data):
        entry = self._fds[fd]
        short = self.plan[2] if self.plan and len(self.plan) > 2 else 0  # before the fault
        hit = not self.spared and self.plan is not None and self.calls + 1 >= self.plan[0]
        if hit and short and len(data) > 1:  # a part is written, then the fault comes
            count = self.rnd.randint(1, len(data) - 1)
            self._append(entry, data[:count])
            if self.plan[1] is not ProcessDied:
                self.plan = (self.calls + 2, self.plan[1])
                self.calls += 1
                return count
        self._call("write")
        count = self._shortened(len(data))
        if count > 1 and self.rnd.random() < 0.02:
            count = self.rnd.randint(1, count - 1)
        self._append(entry, data[:count])
        return count

    def _append(self, entry, data):
        inode = entry[0]
        at = len(inode.data) if entry[1] & os.O_APPEND else entry[2]
        inode.data[at : at + len(data)] = data
        entry[2] = at + len(data)
        inode.mtime = self._tick()

    def write_all(self, fd, data):
        view = memoryview(data)
        while view:
            view = view[self.write(fd, view) :]

    def pwrite(self, fd, data, offset):
        self._call("pwrite")
        inode = self._fds[fd][0]
        data = data[: self._shortened(len(data))]
        inode.data[offset : offset + len(data)] = data
        inode.mtime = self._tick()
        return len(data)

    def position(self, fd):
        return self._fds[fd][2]

    def stream(self, fd):
        self._call("dup")
        return io.BufferedReader(Stream(self, fd))

    def inode_generation(self, fd):
        return self._fds[fd][0].generation

    def boot(self):
        return str(self.boots)

    def has_writer(self, fd):
        inode, flags, _at, _process = self._fds[fd]
        return inode.writers > bool(flags & (os.O_WRONLY | os.O_RDWR))

    def fsync(self, fd):
        self._call("fsync")
        inode = self._fds[fd][0]
        if inode is not None:
            inode.durable = bytes(inode.data)

    def fdatasync(self, fd):
        self._call("fdatasync")
        inode = self._fds[fd][0]
        inode.durable = bytes(inode.data)

    def sync_directory(self, path):
        self._call("fsync")
        inside = path.rstrip("/") + "/"
        journal, self._journal = self._journal, []
        for change in journal:
            if (change[1] or change[2]).startswith(inside):
                _change(self._durable_names, change)
            else:
                self._journal.append(change)

    def ftruncate(self, fd, length):
        self._call("ftruncate")
        inode = self._fds[fd][0]
        del inode.data[length:]
        inode.data.extend(bytes(max(0, length - len(inode.data))))
        inode.mtime = self._tick()

    def rename(self, old, new):
        self._call("rename")
        inode = self._inode(old)
        gone = self._names.get(new)
        self._rename(inode, old, new)
        if gone:
            self._drop(gone)

    def _rename(self, *change):
        _change(self._names, change)
        self._journal.append(change)

    def unlink(self, path):
        self._call("unlink")
        inode = self._inode(path)
        self._rename(inode, path, None)
        self._drop(inode)

    def listdir(self, path):
        self._call("listdir")
        inside = path.rstrip("/") + "/"
        return [p[len(inside) :] for p in self._names if p.startswith(inside)]

    def makedirs(self, path):
        self._call("makedirs")

    def fchmod(self, fd, mode):
        self._call("fchmod")

    def fchown(self, fd, uid, gid):
        self._call("fchown")
