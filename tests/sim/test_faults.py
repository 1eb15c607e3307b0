"""A fault at every call: there is no call to the file system that may not fail.

Short lives told by hand.  Each is lived once to see how many calls it makes, and then again
for every one of them: the call fails, once or from then on, or moves less than it was asked
to, or the process dies in it, or the machine loses its power.  Then the same with another
fault soon after it.  Whatever happened, the pipe comes to rest, the copy is equal, what was
acknowledged was there all the time, and no descriptor is left open.

    python tests/sim/test_faults.py LIFE SIDE CALL FAULT [CALLS FAULT]

tells one of these lives in full.
"""

import collections
import errno
import sys
import traceback

import pytest
from simfs import POWER, SHORT, ZEROS, ProcessDied
from simmerge import share
from simworld import ALWAYS, COPY, NOT_YET, ORIGIN, Generation, World

FAULTS = {
    "ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EINTR": errno.EINTR, "short": SHORT,
    "dies": ProcessDied, "power": POWER, "EIO-stays": errno.EIO, "ENOSPC-stays": errno.ENOSPC,
}  # fmt: skip
SECOND = ["dies", "EIO", "power", "ENOSPC"]
LATER = [1, 4, 12]  # calls between the first fault and the second
ROUNDS = 120  # of work, after which a pipe without faults is at rest
CAN_BE_SHORT = {"pread", "write", "pwrite"}
SIDES = ["archive", "origin"]


class Told(World):
    """A world in which what happens is told, and only its details are left to chance."""

    def __init__(self, traits=()):
        super().__init__(seed=1, do=dict.fromkeys(ALWAYS, 1))
        self.mirror = "mirror" in traits
        self.merged = "merged" in traits
        self.a.forgets = "failed syncs forget" not in NOT_YET
        self._request_lost = False
        self._before_request = 0

    # --- what happens

    def append(self, data):
        """The application writes."""
        self.log.append(f"append {data!r}")
        with self.others():
            self._put(data)

    def go(self):
        """The pipe works until it is at rest, or for as long as it would take to get there."""
        for _ in range(ROUNDS):
            self.work(0.6)
            if self.at_rest:
                return

    def sent(self):
        """All that was written stands in the copy; nothing is synced."""
        for _ in range(ROUNDS):
            if len(self.copied()) < len(self.written()):
                self.work(0.0)

    def work(self, seconds):
        """One round of the pipe's work."""
        if self.feed is None:
            self.try_connect()
        self._pass(seconds)
        self.step_source()
        self.step_sink()
        self.after_work()

    def after_work(self):
        """Who has lost its power starts again."""
        if self.a.out:
            self.archive_power_cut()
        if self.o.out:
            self.origin_power_cut()
        self.check_prefix()

    def origin_power_cut(self):
        """The log's machine starts again.  What the application wrote is taken to be durable:
        what a machine forgets of its own log, nobody can copy."""
        self.kill_source()
        with self.others():
            for path in self.o.paths("/o/"):
                inode = self.o._names[path]
                inode.sync()
            self.o.sync_directory("/o")
            self._writer = self._old_writer = None
            self.o.power_cut()
            self._open_writer()

    def kill_source(self):
        """As ever; what its user had asked of it, it has forgotten."""
        super().kill_source()
        if self.resend:
            self.resend, self._request_lost = False, True

    def rotate_origin(self):
        """logrotate with `create`; the application opens the new file at once."""
        self.log.append("rotate")
        with self.others():
            name = self._next_name()
            self.o.rename(ORIGIN, name)
            self.aside.insert(0, name)
            self._begin_generation()

    def compress_rotated(self):
        """logrotate compresses."""
        self.log.append("compress")
        with self.others():
            self.compress()

    def copytruncate_origin(self):
        """logrotate with `copytruncate`."""
        self.log.append("copytruncate")
        with self.others():
            self._copy_and_empty()

    def meanwhile(self):
        """In the middle of something that is told, nothing happens by chance."""

    def open_copy(self):
        """A Copy, or a share of a destination that may have others."""
        if not self.merged:
            return super().open_copy()
        return share(self, "origin")

    def rotate_and_go_on(self):
        """The writer goes on with the old file, and another one writes to the new."""
        self.log.append("rotate, the writer stays")
        with self.others():
            self.rotate_and_keep()

    def add_late(self):
        """The old writer writes."""
        self.log.append("late")
        with self.others():
            self.late()

    def truncate_copy(self):
        """The archive's logrotate with copytruncate; nothing comes in between."""
        self.log.append("copytruncate of the copy")
        with self.others():
            self.a.put(self._next_piece(COPY), self.a.content(COPY))
            self.pieces()
            self._cut_copy()

    def write_to_copy(self):
        """Somebody else appends to it."""
        self.log.append("foreign")
        with self.others():
            self.foreign()

    def rotate_copy(self):
        """The archive's logrotate without `create`, and HUP."""
        self.log.append("rotate the copy, HUP")
        with self.others():
            if COPY in self.a.paths(COPY):
                self.dest_rotated += 1
                self.a.rename(COPY, f"{COPY}.{10000 - self.dest_rotated}")
        self.hup()
        self.after_work()

    def tear(self, other_device=False):
        """The archive loses its power; what was not synced is zeros now."""
        self.log.append("archive power cut, zeros")
        self.kill_sink()
        with self.others():
            self.a.power_cut(ZEROS)
            self.a.device += other_device

    def ask_again(self):
        """The source is started anew, with -n."""
        self.log.append("-n")
        self.kill_source()
        before = Generation()
        before.data = bytearray(self.history[-1].data)
        self._before_request = len(self.history)
        self.history.insert(0, before)
        self.resend = True

    def written(self):
        """What has to arrive.  A request that was lost with its process may have been heard."""
        with_it = super().written()
        if not self._request_lost:
            return with_it
        without = b"".join(bytes(generation.data) for generation in self.history[1:])
        copied = self.copied()
        matches = [w for w in (with_it, without) if w.startswith(copied) or copied.startswith(w)]
        return matches[0] if len(matches) == 1 or without != copied else without

    # --- faults

    def disk(self, side):
        """The file system of a side."""
        return self.a if side == "archive" else self.o


# --- the lives: (what goes before, without faults; what happens)


def _nothing(world):
    pass


def _connected(world):
    world.settle()


def _established(world):
    world.append(b"an established pipe\n")
    world.settle()


def first_transfer(world):
    """A new pipe, some lines, and some more."""
    world.append(b"one\ntwo\n")
    world.go()
    world.append(b"\0three \xff")
    world.go()


def resumed(world):
    """The source is killed, the file grows, another source goes on."""
    world.kill_source()
    world.append(b"while away\n")
    world.go()


def child_killed(world):
    """The child is killed with bytes that are not synced; another one goes on."""
    world.append(b"not acknowledged\n")
    world.sent()
    world.kill_sink()
    world.go()


def rotated(world):
    """The origin is rotated while the source reads it."""
    world.append(b"before\n")
    world.rotate_origin()
    world.append(b"after\n")
    world.go()


def rotated_while_away(world):
    """The origin is rotated and compressed while the source is down."""
    world.append(b"unread\n")
    world.kill_source()
    world.rotate_origin()
    world.compress_rotated()
    world.append(b"after\n")
    world.go()


def copytruncated(world):
    """logrotate's copytruncate, with some bytes of the old content still to be read."""
    world.append(b"unread\n")
    world.copytruncate_origin()
    world.append(b"after\n")
    world.go()


def copy_rotated(world):
    """The copy is renamed, and the server gets HUP."""
    world.append(b"not acknowledged\n")
    world.sent()
    world.rotate_copy()
    world.append(b"after\n")
    world.go()


def healed(world):
    """The archive loses its power; the copy ends in zeros where bytes were."""
    world.append(b"zero\n")
    world.sent()
    world.tear()
    world.append(b"on\n")
    world.go()


def healed_from_nothing(world):
    """The same before anything was durable: not one byte of the tail is right."""
    world.append(b"zero\n")
    world.sent()
    world.tear()
    world.append(b"on\n")
    world.go()


def healed_on_another_device(world):
    """The same, and after the restart the file system has another device number."""
    world.append(b"zero\n")
    world.sent()
    world.tear(other_device=True)
    world.append(b"on\n")
    world.go()


def repeated(world):
    """-n: the whole origin once more, behind what is there."""
    world.ask_again()
    world.append(b"and more\n")
    world.go()


def mirrored(world):
    """Three generations, each of which gets a piece of its own."""
    world.append(b"before\n")
    world.rotate_origin()
    world.append(b"between\n")
    world.go()
    world.rotate_origin()
    world.append(b"after\n")
    world.go()


def late_bytes(world):
    """A writer that was not told adds to a generation that was delivered."""
    world.append(b"before\n")
    world.rotate_and_go_on()
    world.append(b"after\n")
    world.go()
    world.add_late()
    world.append(b"on\n")
    world.go()
    world.add_late()
    world.go()


def late_bytes_in_a_mirror(world):
    """The same; they go to the end of their own piece."""
    late_bytes(world)


def copy_truncated(world):
    """The copy is copied and truncated with bytes that are not synced."""
    world.append(b"not acknowledged\n")
    world.sent()
    world.truncate_copy()
    world.append(b"after\n")
    world.go()
    world.truncate_copy()
    world.append(b"on\n")
    world.go()


def foreign_bytes(world):
    """Somebody else appends to the copy, while bytes come and while nobody looks."""
    world.append(b"not acknowledged\n")
    world.sent()
    world.write_to_copy()
    world.append(b"after\n")
    world.go()
    world.kill_sink()
    world.write_to_copy()
    world.append(b"on\n")
    world.go()


def merged(world):
    """Lines are appended, and rotated, in a destination that may have others."""
    world.append(b"before\n")
    world.go()
    world.append(b"unread\n")
    world.rotate_origin()
    world.append(b"after\n")
    world.go()
    world.rotate_copy()
    world.append(b"on\n")
    world.go()


TRAITS = {"mirrored": ("mirror",), "late_bytes_in_a_mirror": ("mirror",), "merged": ("merged",)}
NEEDS = {  # what has to be lived through for it
    "late_bytes": "late", "late_bytes_in_a_mirror": "late", "copy_truncated": "copytruncate_copy",

}  # fmt: skip
LIVES = {
    "first_transfer": (_nothing, first_transfer),
    "healed_from_nothing": (_connected, healed_from_nothing),
    **{
        life.__name__: (_established, life)
        for life in (
            resumed, child_killed, rotated, rotated_while_away, copytruncated, copy_rotated,
            healed, healed_on_another_device, repeated, mirrored, late_bytes,
            late_bytes_in_a_mirror, copy_truncated, foreign_bytes, merged,
        )
    },
}  # fmt: skip


def tell(name, side=None, faults=()):
    """Live a life: (its world, None or what went wrong).

    faults: (call, name of the fault), the second one's call counted from the first.
    """
    world = Told(TRAITS.get(name, ()))
    before, life = LIVES[name]
    try:
        with world.clock():
            before(world)
            if faults:
                _plan(world.disk(side), faults)
            life(world)
            world.settle()
            world.check_end()
            world.check_descriptors()
    except AssertionError as error:
        return world, str(error)
    except Exception as error:
        where = "".join(traceback.format_exception(error))
        return world, world.story(f"{type(error).__name__}\n{where}")
    return world, None


def _plan(disk, faults):
    (first, what), *later = faults
    disk.plan = (disk.calls + first, FAULTS[what], what == "ENOSPC")
    disk.stays = what.endswith("-stays")
    disk.then = [(calls, FAULTS[what]) for calls, what in later]


def calls_of(name, side):
    """The names of the calls that a life without faults makes."""
    world = Told(TRAITS.get(name, ()))
    before, life = LIVES[name]
    with world.clock():
        before(world)
        world.disk(side).tape = tape = []
        life(world)
        assert world.at_rest
        world.disk(side).tape = None
        world.settle()
        world.check_end()
    assert len(tape) > 10
    return tape


def complain(name, side, failures, lives):
    """Fail with a summary, and the story of the first failure."""
    if not failures:
        return
    kinds = collections.Counter()
    for faults, call, story in failures:
        what = " ".join(f"{at} {what}" for at, what in faults)
        kinds[f"{call:12} {what:20} {story.splitlines()[0][:100]}"] += 1
    rows = "\n".join(list(kinds)[:40])
    faults, _call, story = failures[0]
    words = " ".join(f"{at} {what}" for at, what in faults)
    again = f"python tests/sim/test_faults.py {name} {side} {words}"
    pytest.fail(f"{len(failures)} of {lives} lives:\n{rows}\n\n{again}\n{story}", pytrace=False)


EVERY = [(name, side) for name in LIVES for side in SIDES if NEEDS.get(name) not in NOT_YET]


@pytest.mark.parametrize("name, side", EVERY)
def test_one_fault(name, side):
    """Each call fails in each way."""
    failures, lives = [], 0
    for at, call in enumerate(calls_of(name, side), 1):
        for what in FAULTS:
            if what == "short" and call not in CAN_BE_SHORT:
                continue
            world, story = tell(name, side, [(at, what)])
            lives += 1
            assert world.disk(side).reached, f"call {at} was not reached"
            if story is not None:
                failures.append(([(at, what)], call, story))
    complain(name, side, failures, lives)


@pytest.mark.parametrize("name, side", EVERY)
def test_a_second_fault_during_recovery(name, side):
    """The process dies in each call, and soon after it something else happens."""
    failures, lives, reached = [], 0, 0
    for at, call in enumerate(calls_of(name, side), 1):
        for number, calls in enumerate(LATER):
            first, second = ("dies", "EIO")[(at + number) % 2], SECOND[(at // 2 + number) % 4]
            faults = [(at, first), (calls, second)]
            world, story = tell(name, side, faults)
            lives += 1
            reached += world.disk(side).reached == 2
            if story is not None:
                failures.append((faults, call, story))
    assert reached > lives / 2
    complain(name, side, failures, lives)


def main(name, side, *words):
    """Tell one life in full: the exit status."""
    faults = [(int(at), what) for at, what in zip(words[::2], words[1::2])]
    world, story = tell(name, side, faults)
    print("\n".join(map(str, world.log)))
    print("equal" if story is None else story.partition("\n")[0])
    return story is not None


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
