"""What happens to a copy and its ledger, beside what the pipe does with them."""

import errno
import os

from tcppipe.files import records

COPY, LEDGER = "/a/log", "/state/log.ledger"
ELSEWHERE = "/b/log"
FOREIGN = b"<foreign %06d>\n"
HEARD = 20  # times that the pipe works until a signal was heard at the latest


class Archive:
    """The part of a World that is about the archive's files."""

    ledger = LEDGER
    settles_names = True  # the archive's logrotate makes its names durable

    def begin_archive(self):
        """Nothing there yet."""
        self.dest_rotated = 0
        self.foreigns = 0
        self.doubled = 0  # bytes of the copy that stand in a second file, too, for the moment
        self._places = {}  # the order of the pieces that were set aside
        self._backups = {}  # path: (content, which pieces stood beside it)

    def end_sinks(self):
        """Whoever writes here is killed."""
        self.kill_sink()

    def pieces(self):
        """The paths of what was rotated away, the oldest first."""
        names = self.a._names
        new = [path for path in names if path not in self._places and _is_piece(path)]
        for path in sorted(new, key=lambda path: names[path].generation):
            self._places[path] = len(self._places)
        return sorted((p for p in self._places if p in names), key=self._places.get)

    def _next_piece(self, base):
        self.dest_rotated += 1
        return f"{base}.{10000 - self.dest_rotated}"

    def rotate_destination(self):
        """The archive's logrotate, with HUP."""
        if COPY in self.a._names:
            self.reach("destination rotated")
            self.a.rename(COPY, self._next_piece(COPY))
            fd = self.a.open(COPY, os.O_WRONLY | os.O_CREAT)
            self.a.close(fd)
            if self.settles_names:
                self.a.settle_names()
            self.pieces()
            if self.rnd.random() < 0.8:
                self.hup()

    def copytruncate_copy(self):
        """The archive's logrotate with copytruncate; the pipe works meanwhile, a little or much."""
        if COPY not in self.a._names or self.store is None:
            return
        self.reach("copy truncated")
        inode, piece = self.a._names[COPY], self._next_piece(COPY)
        self.a.put(piece, self.a.content(COPY))
        self.pieces()
        self.doubled = len(self.a.content(piece))
        # nobody can tell a copy of an empty file from that which was made the day before
        for _ in range(self.rnd.choice((0, 1, 10)) if inode.data else 0):
            self.write()
            self.all_work()
        self.doubled = 0
        if self.a._names.get(COPY) is inode:
            self._cut_copy()
        else:  # a mirror has set it aside: nobody should truncate that
            self.a.unlink(piece)
            self.a.settle_names()
            self.forget_acknowledged()

    def _cut_copy(self):
        if COPY in self.a._names:
            fd = self.a.open(COPY, os.O_WRONLY)
            self.a.ftruncate(fd, 0)
            self.a._fds[fd][0].sync()  # whatever failed before is told to us, not to others
            self.a.close(fd)
            self.forget_acknowledged()

    def copytruncate_twice(self):
        """Twice, with little or nothing in between."""
        self.copytruncate_copy()
        self.all_work()
        self.copytruncate_copy()

    def copy_moved_away(self, asleep=False):
        """mv to another disk, and HUP, while the disk is well: else nobody knows what was moved.

        Nor where the process that gets HUP is stopped, and killed before it can hear of it.
        """
        inode = self.a._names.get(COPY)
        if inode is None or inode.error or self.a.failing or self.a.plan is not None:
            return
        if self.sink_is_stopped is not asleep:
            return
        if self.store is not None and self.store._open and not self._sync_has_failed():
            self.reach("copy moved away")
            self.a.put(self._next_piece(ELSEWHERE), self.a.content(COPY))
            self.pieces()
            self.a.unlink(COPY)
            self.a.settle_names()
            self.hup()
            for _ in range(0 if asleep else HEARD):
                if COPY not in self.a._names:
                    self.all_work()

    def _sync_has_failed(self):
        """True when a sync has failed, and the sink was not told yet."""
        under_way = getattr(self.store.copy, "_syncing", None)  # a merged one makes its own
        return under_way is not None and under_way[-1].error is not None

    def foreign(self):
        """Somebody else appends to the copy."""
        if COPY in self.a._names:
            self.reach("foreign writer")
            self.foreigns += 1
            fd = self.a.open(COPY, os.O_WRONLY | os.O_APPEND)
            self.a.write_all(fd, FOREIGN % (self.first_late + self.foreigns))
            self.a._fds[fd][0].sync()
            self.a.close(fd)
            self.a.sync_directory(os.path.dirname(COPY))  # else a power cut may take all of it

    def marked(self):
        """Up to which offset the ledger knows for ever that its last generation is durable."""
        generation, mark = None, 0
        ledger = self.a._names.get(self.ledger)
        lasts = "archive_power_cut" in self.menu
        content = (ledger.durable if lasts else bytes(ledger.data)) if ledger else b""
        for line in content.splitlines(keepends=True):
            record = records.parse(line) or {}
            if "stretch" in record and record["stretch"]["generation"] != generation:
                generation, mark = record["stretch"]["generation"], 0
            mark = record.get("mark", {}).get("offset", mark)
        return mark

    # --- backups

    def backup_copy(self):
        """A backup's turn to read the copy."""
        self._back_up(COPY)

    def backup_ledger(self):
        """Minutes later, or before, that of the ledger."""
        self._back_up(self.ledger)

    def _back_up(self, path):
        if path in self.a._names:
            self._backups[path] = self.a.content(path), self.pieces()

    def restore(self):
        """The copy, the ledger or both from their backups; new inodes."""
        chosen = self.rnd.choice(((COPY,), (self.ledger,), (COPY, self.ledger)))
        backups = [(path, self._backups.get(path)) for path in chosen]
        if all(backup is not None and backup[1] == self.pieces() for _path, backup in backups):
            self.reach("restored")
            self.end_sinks()
            for path, (content, _pieces) in backups:
                self.a.put(path, content)
            self.a.settle_names()
            self.forget_acknowledged()
            self.marks_lost = True

    def archive_moves(self):
        """The copies were moved to another disk, inodes and all."""
        self.reach("copies on another disk")
        if self.mirror and self.dest_rotated:  # nothing proves the rest of a piece
            self.marks_lost = True
        self.end_sinks()
        self.a.device += 1
        for path in [*self.pieces(), COPY]:
            if path in self.a._names:
                old = self.a._names[path]
                self.a.put(path, bytes(old.data), old.mtime)

    def device_changes(self):
        """The same disk has another number, though the machine was not started again."""
        self.reach("another device number")
        self.end_sinks()
        self.a.device += 1

    def touch_copy(self):
        """Somebody sets the time of a copy."""
        self.reach("copy touched")
        paths = [path for path in [*self.pieces(), COPY] if path in self.a._names]
        if paths:
            self.a.utime(self.rnd.choice(paths), self._any_time())

    def archive_clock_steps(self):
        """The archive's clock is set."""
        self.reach("archive's clock stepped")
        self.a.now += self.rnd.choice((-1, 1)) * self.rnd.choice((10**9, 3600 * 10**9))

    # --- its disk

    def disk_trouble(self):
        """A kind of call fails from now on."""
        self.reach("disk trouble")
        code = self.rnd.choice((errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO))
        calls = self.rnd.choice((("write",), ("write", "open"), ("fdatasync",), ("fsync",)))
        self.a.failing = {call: code for call in calls}

    def disk_well(self):
        """All is well again."""
        self.a.failing = {}

    def write_back_fails(self):
        """The kernel cannot write what nobody has synced yet."""
        self.reach("write-back failed")
        self.a.write_back_fails(self.rnd.choice((COPY, COPY, self.ledger)))

    def memory_short(self):
        """Pages that are clean are read from the disk again."""
        self.reach("memory short")
        if self.a.short_of_memory():
            self.altered = True  # what was lost can be seen

    def ledger_bit(self):
        """One bit of the ledger turns over.  It is not the last line that tells of the present
        generation: a ledger in which nothing does is a lost one."""
        inode = self.a._names.get(self.ledger)
        if inode is None or not inode.data:
            return
        at = self.rnd.randrange(len(inode.data))
        number = bytes(inode.data[:at]).count(b"\n")
        lines = bytes(inode.data).splitlines(keepends=True)
        if _told_last(lines) == _told_last(lines[:number] + lines[number + 1 :]):
            self.reach("ledger damaged")
            self.end_sinks()
            inode.data[at] ^= 1 << self.rnd.randrange(8)
            inode.durable = bytes(inode.data)


def _told_last(lines):
    """The generation that a ledger tells of last."""
    told = None
    for line in lines:
        record = records.parse(line) or {}
        for value in record.values():
            told = value.get("in", value).get("generation", told)
    return told


def _is_piece(path):
    return path.startswith((COPY + ".", ELSEWHERE + ".")) and ".cut" not in path
