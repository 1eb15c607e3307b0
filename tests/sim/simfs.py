"""A file system in memory that forgets, on a power cut, what was not made durable.

Has the methods of tcppipe.files.fs.FS.  Inode numbers are given again at once, as ext4
does.  Each call can be made to fail, or to be the last one of its process.  What was written
is dirty by the page until it is synced; a sync that fails marks pages as clean all the same,
as Linux does, and the next one succeeds without them.  Its clock may be set to any time.
"""

import errno
import io
import os
import random
import stat
from types import SimpleNamespace

from simnews import Kernel

from tcppipe.files import inotify

PAGE = 64  # bytes
ZEROS = 3  # a torn file: the size was written, the data was not
FILE, DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755


SHORT = "short"  # a fault: the call reads or writes less than it was asked to
POWER = "power"  # a fault: the machine loses its power in the call


class ProcessDied(BaseException):
    """The process was killed inside a call (kill -9: nothing of ours runs after it)."""


class Inode:
    """A file: what the kernel shows of it, and what a power cut would leave of it.

    dirty: the pages that the next sync writes.  A page that is not dirty is on the disk, or it
    was lost in a write-back that failed: then what is shown lasts until memory is short.
    """

    def __init__(self, number, generation, now):
        self.number = number
        self.generation = generation
        self.data = bytearray()
        self.durable = b""
        self.dirty = set()
        self.cut = None  # the shortest that it was since the last sync, if it was cut
        self.error = 0  # of a write-back that failed, until a sync has told it
        self.readable = True
        self.mtime = now
        self.changed = now  # when its name or its rights were
        self.writers = 0
        self.opened = 0

    def change(self, at, data):
        """Write."""
        self.data.extend(bytes(max(0, at - len(self.data))))
        self.data[at : at + len(data)] = data
        if len(data):
            self.dirty.update(range(at // PAGE, (at + len(data) - 1) // PAGE + 1))

    def resize(self, length):
        """Cut it, or make it longer by zeros."""
        if length < len(self.data):
            self.cut = length if self.cut is None else min(self.cut, length)
            self.dirty = {page for page in self.dirty if page * PAGE < length}
        del self.data[length:]
        self.data.extend(bytes(length - len(self.data)))

    def written(self, pages=None):
        """What the disk would hold if its dirty pages, or some of them, were written now."""
        if pages is None:
            pages = self.dirty
        if not pages and self.cut is None and len(self.durable) == len(self.data):
            return self.durable
        data = bytearray(self.durable[: self.cut])
        del data[len(self.data) :]
        data.extend(bytes(len(self.data) - len(data)))
        for page in pages:
            data[page * PAGE : (page + 1) * PAGE] = self.data[page * PAGE : (page + 1) * PAGE]
        return bytes(data)

    def sync(self):
        """Its dirty pages are written."""
        self.durable = self.written()
        self.dirty.clear()
        self.cut = None

    def write_back_fails(self, rnd):
        """Some dirty pages cannot be written; all of them count as clean from now on."""
        self.durable = self.written({page for page in self.dirty if rnd.random() < 0.5})
        self.dirty.clear()
        self.cut = None

    def evict(self):
        """Memory is short: what is clean is read from the disk the next time."""
        self.data = bytearray(self.written())


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


def _check_offset(offset):
    if offset < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _change(names, change):
    """Make a name, change it or take it away."""
    inode, old, new = change
    names.pop(old, None)
    if new is not None:
        names[new] = inode


class SimFS(Kernel):
    """One machine's disk.  `tick` nanoseconds pass with every change."""

    pointing = False

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
        self.forgets = True  # a sync that fails counts the pages as clean
        self.granularity = 1  # nanoseconds by which times of files differ at least
        self.leases = True  # the kernel tells who has a file open for writing
        self.tells_generations = True  # … and the generation numbers of inodes
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
        self.chance = random.Random(0)  # of what is told when: the rest of a life is the same
        self.begin_telling()

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

    def check(self, name):
        """Count a call; raises what it meets."""
        self._call(name)

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
        return self.now - self.now % self.granularity

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
            st_ctime=max(inode.changed, inode.mtime) / 1e9, st_dev=self.device, st_ino=inode.number, st_size=len(inode.data), st_mtime_ns=inode.mtime,
            st_mode=FILE, st_uid=0, st_gid=0, st_nlink=sum(other is inode for other in self._names.values()),
        )  # fmt: skip

    # --- what tests do to it

    def end(self, process):
        """A process ends: the kernel closes what it had open."""
        for fd in self.descriptors(process):
            self._close(fd)
        self.end_listening(process)

    def descriptors(self, process):
        """The descriptors that a process has open."""
        return [fd for fd, entry in self._fds.items() if entry[3] == process]

    def held(self):
        """What processes of ours have open."""
        return [entry[0] for entry in self._fds.values() if entry[3] is not None]

    def power_cut(self, how=None):
        """Everything that was not made durable is lost, torn, zero, or there after all.

        how: the same for all files (see _torn), or None: for each as it happens.
        """
        self.boots += 1
        self.out = False
        for fd in list(self._fds):
            self._close(fd)
        for listener in list(self.listening):
            listener.close()
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
            inode.durable = self._torn(inode, how)
            inode.data = bytearray(inode.durable)
            inode.dirty, inode.cut, inode.error = set(), None, 0
            self._drop(inode)

    def _torn(self, inode, how):
        durable, cached = inode.durable, inode.written()
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
        inode.mtime = inode.mtime if mtime is None else mtime
        old = self._names.get(path)
        self._names[path] = self._durable_names[path] = inode
        if old is not None:
            self.tell_renamed(inode, None, path + ".new")
        self.tell_renamed(inode, old and path + ".new", path)
        self._journal = [change for change in self._journal if path not in change]
        if old:
            self._drop(old)
        return inode

    def link(self, old, new):
        """A second name for a file; durable."""
        inode = self._names[new] = self._durable_names[new] = self._inode(old)
        self.tell_renamed(inode, None, new)

    def utime(self, path, mtime):
        """touch: set the time of the last change, in nanoseconds."""
        self._inode(path).mtime = mtime
        self.tell((self._inode(path), inotify.ATTRIB))

    def chmod(self, path, readable):
        """Take away the right to read a file, or give it back."""
        inode = self._inode(path)
        if inode.readable != readable:
            inode.readable, inode.changed = readable, self.now
            self.tell((inode, inotify.ATTRIB))

    def short_of_memory(self):
        """What is clean is forgotten, and read from the disk again; True: some was lost."""
        before = [bytes(inode.data) for inode in self._inodes]
        for inode in self._inodes:
            inode.evict()
        return before != [bytes(inode.data) for inode in self._inodes]

    def write_back_fails(self, path):
        """The kernel writes a file's dirty pages, and fails: the next sync of it tells."""
        inode = self._names.get(path)
        if inode is not None and inode.dirty:
            inode.write_back_fails(self.rnd)
            inode.error = errno.EIO

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
        if not inode.readable and not self.spared:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        if flags & os.O_TRUNC:
            inode.resize(0)
            self.tell((inode, inotify.MODIFY))
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
        if path not in self._names and self.is_directory(path):
            at = self.changed_at.get(path, 0)
            at -= at % self.granularity
            return SimpleNamespace(
                st_dev=self.device, st_ino=1, st_mode=DIRECTORY, st_mtime_ns=at, st_ctime=at / 1e9
            )
        return self._status(self._inode(path))

    def pread(self, fd, length, offset):
        self._call("pread")
        _check_offset(offset)
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
        inode.change(at, data)
        entry[2] = at + len(data)
        inode.mtime = self._tick()
        self.tell((inode, inotify.MODIFY))

    def write_all(self, fd, data):
        view = memoryview(data)
        while view:
            view = view[self.write(fd, view) :]

    def pwrite(self, fd, data, offset):
        self._call("pwrite")
        _check_offset(offset)
        inode = self._fds[fd][0]
        data = data[: self._shortened(len(data))]
        inode.change(offset, data)
        inode.mtime = self._tick()
        return len(data)

    def overwrite(self, fd, data, offset):
        return self.pwrite(fd, data, offset)

    def rewrite(self, fd, first, last):
        while first < last and (data := self.pread(fd, min(1 << 20, last - first), first)):
            first += self.overwrite(fd, data, first)

    def position(self, fd):
        return self._fds[fd][2]

    def stream(self, fd):
        self._call("dup")
        return io.BufferedReader(Stream(self, fd))

    def inode_generation(self, fd):
        return self._fds[fd][0].generation if self.tells_generations else 0

    def boot(self):
        return str(self.boots)

    def has_writer(self, fd):
        if not self.leases:
            return None
        inode, flags, _at, _process = self._fds[fd]
        return inode.writers > bool(flags & (os.O_WRONLY | os.O_RDWR))

    def fsync(self, fd):
        self._sync(fd, "fsync")

    def fdatasync(self, fd):
        self._sync(fd, "fdatasync")

    def _sync(self, fd, name):
        inode = self._fds[fd][0]
        try:
            self._call(name)
            if inode is not None and inode.error:
                code, inode.error = inode.error, 0
                raise OSError(code, os.strerror(code))
        except OSError as error:
            if inode is not None and self.forgets and error.errno != errno.EINTR:
                inode.write_back_fails(self.rnd)
            raise
        if inode is not None:
            inode.sync()

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
        _check_offset(length)
        inode = self._fds[fd][0]
        inode.resize(length)
        inode.mtime = self._tick()
        self.tell((inode, inotify.MODIFY))

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
        self.tell_renamed(*change)

    def is_directory(self, path):
        """True for what has names in it, and for where names come."""
        return path in ("/o", "/a", "/b", "/run", "/state") or any(self.paths(path + "/"))

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
