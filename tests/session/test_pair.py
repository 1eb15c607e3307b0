"""A source and a sink session wired together by a link that cuts the stream anywhere."""

import hashlib
import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcppipe.cursor import NO_DIGEST, UNKNOWN, Cursor, Generation
from tcppipe.errors import LinkLost, PeerError, Refused, SyncFailed
from tcppipe.session import actions as act
from tcppipe.session import keepalive, news, states
from tcppipe.session.sink import MAX_PROVED, Sink
from tcppipe.session.source import Source
from tcppipe.wire import events as ev
from tcppipe.wire.frames import AHEAD, MAX_DATA, MINOR, Reader, encode, packed_header
from tcppipe.wire.packing import ZLIB, ZSTD, pack

ME = b"s" * 16


def sha(data):
    """A SHA-256."""
    return hashlib.sha256(data).digest()


def generation(data, ino):
    """What identifies a file of this content."""
    return Generation(1, ino, 0, ino, len(data[:1024]), sha(data[:1024]) if data else NO_DIGEST)


class Origin:
    """The source's hands: files in memory, oldest first; the last is live."""

    def __init__(self, files):
        self.files = files
        self.news = []
        self.saved = None
        self.settled = 0

    def perform(self, action):
        """Carry out one action; its result or None."""
        if isinstance(action, act.Search):
            last = len(self.files) - 1
            candidates = [
                act.Candidate(str(i), generation(data, i + 1), len(data), i + 1, i == last, turn=i)
                for i, data in enumerate(self.files)
            ]
            return act.Found("log", candidates)
        if isinstance(action, act.Measure):
            data = self.files[int(action.candidate.name)]
            return tuple(sha(data[first : first + length]) for first, length in action.ranges)
        if isinstance(action, act.Start):
            self._follow(int(action.candidate.name), action.offset)
        elif isinstance(action, act.Save):
            self.saved = action
        elif isinstance(action, act.Settle):
            self.settled += 1
        else:
            assert isinstance(action, act.Say)
        return None

    def _follow(self, index, offset):
        self.news = []
        for i in range(index, len(self.files)):
            data = self.files[i]
            if i > index:
                self.news.append(news.Began(generation(data, i + 1)))
            for at in range(offset, len(data), 700):
                self.news.append(news.Piece(at, data[at : at + 700]))
            if i < len(self.files) - 1:
                self.news.append(news.Ended(ev.Why.ROTATED, len(data), sha(data)))
            offset = 0


class Archive:
    """The sink's hands: a destination in memory.  All that was appended is durable at once."""

    def __init__(self):
        self.copy = bytearray()
        self.generation = None
        self.at = 0  # where the generation begins in the copy
        self.closed = False
        self.ended = []
        self.opened = 0
        self.gaps = []
        self.past = []
        self.crc = self.began = 0  # what the source must say of the bytes from here on

    def perform(self, action):
        """Carry out one action; its result or None."""
        if isinstance(action, act.Offer):
            return self._have(), self.past
        if isinstance(action, act.Prove):
            data = self.copy[self.at :]
            return tuple(sha(data[first : first + length]) for first, length in action.ranges)
        if isinstance(action, act.Open):
            self.opened += 1
            self.closed = False
            if action.begin.why == ev.Why.RESUMED:
                del self.copy[self.at + action.begin.offset :]
            else:
                self.generation, self.at = action.begin.generation, len(self.copy)
            self.began = len(self.copy)
        elif isinstance(action, act.Append):
            assert self.at + action.offset == len(self.copy)
            self.copy += action.data
        elif isinstance(action, act.Compare):
            assert self.at + action.offset == len(self.copy)
            assert action.crc == zlib.crc32(self.copy[self.began :])
        elif isinstance(action, act.Finish):
            self.closed = True
            whole = bytes(self.copy[self.at :])
            assert (action.end.length, action.end.digest) == (len(whole), sha(whole))
            self.ended.append(whole)
            return len(whole), sha(whole)
        else:
            assert isinstance(action, act.Note)
            self.gaps.append(action.gap)
        return None

    def _have(self):
        if self.generation is None:
            return ev.Have(ev.Holding.NOTHING)
        data = bytes(self.copy[self.at :])
        known = self.generation._replace(head_len=len(data[:1024]), head=sha(data[:1024]))
        tail = data[-100:]
        return ev.Have(
            ev.Holding.RECORDED, closed=self.closed, generation=known, end=len(data),
            mark=len(data), tail_len=len(tail), tail=sha(tail), clean=False,
        )  # fmt: skip


class Pair:
    """One connection between an Origin and an Archive; `rng` decides what moves when."""

    def __init__(self, origin, archive, rng, largest=900, packer=None):
        self.origin, self.archive, self.rng = origin, archive, rng
        self.largest = largest
        self.opened = 0  # generations begun over this connection
        self.source, self.sink = Source(ME, "test", 0.0, packer=packer), Sink(0.0)
        self.wires = {self.sink: bytearray(), self.source: bytearray()}  # bytes on their way to …
        self.carry_out(self.source, self.source.open())

    def carry_out(self, session, actions):
        """Carry out a session's actions, in their order."""
        hands, other = self.origin, self.sink
        if session is self.sink:
            hands, other = self.archive, self.source
        todo = list(actions)
        while todo:
            action = todo.pop(0)
            if isinstance(action, act.Send):
                self.wires[other] += b"".join(action)
                continue
            if isinstance(action, act.GiveBack):
                self.wires[session][:0] = action.data
                continue
            result = hands.perform(action)
            if isinstance(action, (act.Open, act.Append)):
                end = len(self.archive.copy) - self.archive.at
                self.opened += isinstance(action, act.Open)
                todo += self.sink.durable(self.opened, end)
            if result is not None:
                todo[:0] = session.done(action, result)

    def step(self):
        """Something happens; False when there is nothing more that could."""
        possible = [session for session, wire in self.wires.items() if wire]
        if self.source.streaming and self.origin.news:
            possible.append(None)
        if not possible:
            return False
        session = self.rng.choice(possible)
        if session is None:
            self.carry_out(self.source, self.source.deliver(self.origin.news.pop(0)))
            return True
        size = self.rng.randint(1, self.largest)
        chunk = bytes(self.wires[session][:size])
        del self.wires[session][:size]
        self.carry_out(session, session.receive(chunk, 0.0))
        return True

    def run(self, steps=10**9):
        """Go on until nothing moves any more, or for so many steps."""
        while steps and self.step():
            steps -= 1


class Now:
    """A Packer that packs whatever it pleases, by any method that the sink has."""

    def __init__(self, rng):
        self.rng = rng
        self.methods = 0
        self.packed = 0

    def offered(self, methods):
        """A sink says what it can."""
        self.methods = methods
        return "compresses"

    def pack(self, data):
        """This piece, or None."""
        method = self.rng.choice([0, ZLIB, ZSTD]) & self.methods
        small = pack(method, data, self.rng.random() < 0.5) if method else b""
        if not method or len(small) > len(data):
            return None
        self.packed += len(data)
        return method, small


class Minor0(Sink):
    """A sink of minor version 0: its Have ends before `methods`."""

    def done(self, action, result):
        """What it says."""
        (sent,) = super().done(action, result)
        if not isinstance(action, act.Offer):
            return [sent]
        return [act.Send(struct.pack("!BI", 2, len(sent.data) - 10) + sent.data[5:-5])]


FILES = st.lists(st.binary(max_size=40).map(lambda b: b * 60), min_size=1, max_size=4)


@settings(deadline=None, database=None, max_examples=60)
@given(FILES, st.integers(0, 2**32), st.sampled_from([1, 7, 5000]))
def test_bytes_arrive_exactly(files, seed, largest):
    """However the stream is cut, generations arrive in order and all is acknowledged."""
    # the first contact begins at the live file; the rest comes by rotation, so begin with one
    origin, archive = Origin(files[:1]), Archive()
    pair = Pair(origin, archive, random.Random(seed), largest)
    pair.run()
    origin.files = files
    again = Pair(origin, archive, random.Random(seed), largest)
    again.run()
    assert bytes(archive.copy) == b"".join(files)
    assert again.source.settled
    assert origin.settled == len(files) - 1


@settings(deadline=None, database=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(1, 200), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4
    ),
    st.integers(0, 2**32),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_a_connection_that_is_lost_anywhere_costs_nothing(sizes, seed, lives):
    """Cut after any number of steps, what is on its way is lost; the next connection goes on."""
    files = [b"%d:" % i + data * size for i, (size, data) in enumerate(sizes)]
    rng = random.Random(seed)
    archive = Archive()
    origin = Origin(files[:1])
    for steps in lives:
        Pair(origin, archive, rng, 300).run(steps)
        assert bytes(archive.copy) == files[0][: len(archive.copy)]
    Pair(origin, archive, rng, 300).run()
    origin.files = files
    for steps in lives:
        Pair(origin, archive, rng, 300).run(steps)
        assert bytes(archive.copy) == b"".join(files)[: len(archive.copy)]
    Pair(origin, archive, rng, 300).run()
    assert bytes(archive.copy) == b"".join(files)


@settings(deadline=None, database=None, max_examples=60)
@given(FILES, st.integers(0, 2**32), st.sampled_from([1, 7, 5000]), st.lists(st.integers(0, 60)))
def test_packed_and_plain_pieces_mixed(files, seed, largest, lives):
    """Whatever is packed and however often the link is lost, the same bytes arrive."""
    rng = random.Random(seed)
    files = [b"%d:" % at + data for at, data in enumerate(files)]
    origin, archive = Origin(files[:1]), Archive()
    Pair(origin, archive, rng, largest, Now(rng)).run()
    origin.files = files
    for steps in lives:
        Pair(origin, archive, rng, largest, Now(rng)).run(steps)
        assert bytes(archive.copy) == b"".join(files)[: len(archive.copy)]
    Pair(origin, archive, rng, largest, Now(rng)).run()
    assert bytes(archive.copy) == b"".join(files)


def test_pieces_are_packed():
    """In the test above pieces are really packed, and for a packer that is asked for."""
    origin, archive = Origin([b"the same again\n" * 3000]), Archive()
    packer = Now(random.Random(1))
    pair = Pair(origin, archive, random.Random(1), 900, packer)
    pair.run()
    assert packer.methods == ZLIB | ZSTD
    assert 5000 < packer.packed < len(archive.copy) == 45000


def test_much_that_comes_packed_is_handed_on_in_portions():
    """A few KB that stand for many MiB: the sink appends a few of them, gives back the rest to
    the link, and goes on when it comes again."""
    sink = streaming()
    data = bytes(MAX_DATA)
    small = pack(ZSTD, data)
    stream = b"".join(
        packed_header(ZSTD, at * MAX_DATA, MAX_DATA, len(small)) + small for at in range(9)
    )
    rounds = done = 0
    while stream:
        actions = sink.receive(stream, 0.0)
        appended = [action for action in actions if isinstance(action, act.Append)]
        assert len(appended) <= AHEAD // MAX_DATA
        stream = actions[-1].data if isinstance(actions[-1], act.GiveBack) else b""
        rounds, done = rounds + 1, done + len(appended)
    assert (rounds, done) == (5, 9)


def test_a_sink_of_minor_version_0():
    """It can unpack nothing, and is sent nothing packed; all else is as ever."""
    origin, archive = Origin([b"x" * 5000]), Archive()
    packer = Now(random.Random(1))
    pair = Pair(origin, archive, random.Random(1), 900, packer)
    old = Minor0(0.0)
    pair.wires[old] = pair.wires.pop(pair.sink)
    pair.sink = old
    pair.run()
    assert bytes(archive.copy) == b"x" * 5000
    assert (packer.methods, packer.packed) == (0, 0)


def test_a_source_of_minor_version_0():
    """It says so, sends plain data, and does not mind what it does not know in Have."""
    origin, archive = Origin([b"x" * 5000]), Archive()
    pair = Pair(origin, archive, random.Random(1))
    (hello,) = Reader().feed(bytes(pair.wires[pair.sink]))
    assert hello.version == MINOR
    pair.wires[pair.sink][:] = encode(hello._replace(version=0))
    pair.run()
    assert bytes(archive.copy) == b"x" * 5000


def test_packing_is_said_once():
    """What the packer has to say of an offer is told; a source without one says nothing."""
    _source, actions = greeted(packer=Now(random.Random(1)))
    assert actions[0] == act.Say("info", "compresses")
    _source, actions = greeted()
    assert not any(isinstance(action, act.Say) for action in actions)


def test_what_was_saved_is_what_was_acknowledged():
    """The status file follows the acknowledgements, with the generation that they mean."""
    origin, archive = Origin([b"one"]), Archive()
    Pair(origin, archive, random.Random(1)).run()
    assert (origin.saved.generation.ino, origin.saved.offset) == (1, 3)
    origin.files = [b"one", b"second"]
    Pair(origin, archive, random.Random(1)).run()
    assert (origin.saved.generation.ino, origin.saved.offset) == (2, 6)


# --- a sink and a source that is wrong

HELLO = ev.Hello(0, ME, False, b"test")
RECORDED = ev.Have(ev.Holding.RECORDED, clean=False, first=100, mark=500, end=900)


def offered(have, hello=HELLO):
    """A sink that has made this offer."""
    sink = Sink(0.0)
    (offer,) = sink.receive(encode(hello), 0.0)
    assert (offer.sender, offer.about) == (ME, "test")
    sink.done(offer, (have, []))
    return sink


def streaming(offset=0):
    """A sink that has accepted a generation from `offset` on."""
    sink = offered(ev.Have(ev.Holding.NOTHING))
    sink.receive(encode(ev.Begin(ev.Why.FRESH, UNKNOWN, offset)), 0.0)
    return sink


def test_data_without_its_check_does_not_pile_up():
    """What waits for a Check is a frame of data, and no more, in whatever pieces it comes."""
    sink = offered(ev.Have(ev.Holding.NOTHING), HELLO._replace(version=MINOR))
    sink.receive(encode(begin(ev.Why.FRESH)), 0.0)
    sink.receive(encode(ev.Data(0, bytes(MAX_DATA))), 0.0)
    with pytest.raises(PeerError, match="not checked"):
        sink.receive(encode(ev.Data(MAX_DATA, b"x")), 0.0)


def begin(why, offset=0):
    """A Begin."""
    return ev.Begin(why, UNKNOWN, offset)


WRONG = {
    "data with a hole": [ev.Data(11, b"x")],
    "data twice": [ev.Data(10, b"abc"), ev.Data(10, b"abc")],
    "data behind an end": [ev.End(ev.Why.ROTATED, 10), ev.Data(10, b"x")],
    "an end with another length": [ev.End(ev.Why.ROTATED, 11)],
    "two ends": [ev.End(ev.Why.ROTATED, 10), ev.End(ev.Why.ROTATED, 10)],
    "a begin without an end": [begin(ev.Why.NEXT)],
    "a second start": [ev.End(ev.Why.ROTATED, 10), begin(ev.Why.FRESH)],
    "a next one not from its beginning": [ev.End(ev.Why.ROTATED, 10), begin(ev.Why.NEXT, 1)],
    "a probe while streaming": [ev.Probe(())],
}


@pytest.mark.parametrize("events", [pytest.param(e, id=what) for what, e in WRONG.items()])
def test_what_a_streaming_sink_refuses(events):
    """Bytes come without a hole and without repetition, generations one after the other."""
    sink = streaming(10)
    sink.receive(b"".join(map(encode, events[:-1])), 0.0)
    with pytest.raises(PeerError):
        sink.receive(encode(events[-1]), 0.0)


@pytest.mark.parametrize(
    "have, why, offset, fits",
    [
        (RECORDED, ev.Why.RESUMED, 500, True),
        (RECORDED, ev.Why.RESUMED, 900, True),
        (RECORDED, ev.Why.RESUMED, 499, False),
        (RECORDED, ev.Why.RESUMED, 901, False),
        (RECORDED._replace(damaged=True), ev.Why.RESUMED, 100, True),
        (RECORDED._replace(damaged=True), ev.Why.RESUMED, 99, False),
        (RECORDED._replace(end=300), ev.Why.RESUMED, 200, True),
        (RECORDED._replace(end=300), ev.Why.RESUMED, 301, False),
        (RECORDED, ev.Why.ADOPTED, 900, False),
        (ev.Have(ev.Holding.NOTHING), ev.Why.RESUMED, 0, False),
        (ev.Have(ev.Holding.NOTHING), ev.Why.ADOPTED, 0, False),
        (ev.Have(ev.Holding.UNRECORDED, end=70), ev.Why.RESUMED, 70, False),
        (ev.Have(ev.Holding.UNRECORDED, end=70), ev.Why.ADOPTED, 69, False),
        (ev.Have(ev.Holding.UNRECORDED, end=70), ev.Why.ADOPTED, 70, True),
        (ev.Have(ev.Holding.UNRECORDED, end=70), ev.Why.FRESH, 0, True),
        (ev.Have(ev.Holding.NOTHING), ev.Why.WITNESSED, 1234, True),
    ],
)
def test_where_a_source_may_begin(have, why, offset, fits):
    """Never below what is durable and undamaged, never beyond what was offered."""
    sink = offered(have)
    if fits:
        assert sink.receive(encode(begin(why, offset)), 0.0) == [
            act.Open(begin(why, offset), False)
        ]
        assert sink.receive(encode(ev.Data(offset, b"x")), 0.0)[0].offset == offset
    else:
        with pytest.raises(PeerError):
            sink.receive(encode(begin(why, offset)), 0.0)


@pytest.mark.parametrize(
    "item, fits",
    [
        ((100, 800), True),
        ((899, 1), True),
        ((99, 1), False),
        ((900, 1), False),
        ((100, 801), False),
    ],
)
def test_probes_stay_in_what_was_offered(item, fits):
    """Nobody reads the destination beyond the offer."""
    sink = offered(RECORDED)
    if fits:
        assert sink.receive(encode(ev.Probe((item,))), 0.0) == [act.Prove((item,))]
    else:
        with pytest.raises(PeerError):
            sink.receive(encode(ev.Probe((item,))), 0.0)


def test_a_probe_is_bounded():
    """A source cannot make a sink read for hours without a word."""
    sink = offered(RECORDED._replace(end=4 * MAX_PROVED))
    with pytest.raises(PeerError):
        sink.receive(encode(ev.Probe(((100, MAX_PROVED), (100, 1)))), 0.0)


def test_nothing_before_the_offer():
    """While the offer waits (for a lock, for a disk) a source has to wait as well."""
    for event in (ev.Probe(()), begin(ev.Why.FRESH)):
        sink = Sink(0.0)
        sink.receive(encode(HELLO), 0.0)
        with pytest.raises(PeerError):
            sink.receive(encode(event), 0.0)


def test_a_gap_is_noted():
    """Before or after a Begin."""
    gap = ev.Gap(UNKNOWN, 5, 0, b"gone")
    assert offered(RECORDED).receive(encode(gap), 0.0) == [act.Note(gap)]
    assert streaming().receive(encode(gap), 0.0) == [act.Note(gap)]


# --- a source and a sink that is wrong


def greeted(have=None, **kw):
    """A source that has heard an offer, and the actions that followed."""
    source = Source(ME, "test", 0.0, **kw)
    source.open()
    return source, source.receive(encode(have or ev.Have(ev.Holding.NOTHING)), 0.0)


def sending(data=b"0123456789"):
    """A source that has sent these bytes of its first generation."""
    origin = Origin([data])
    source, (search,) = greeted()
    source.done(search, origin.perform(search))
    source.deliver(news.Piece(0, data))
    return source


@pytest.mark.parametrize(
    "event", [ev.Ack(0, 5), ev.Ack(2, 0), ev.Ack(1, 11)], ids=["no serial", "not begun", "too much"]
)
def test_acknowledgements_of_what_was_not_sent(event):
    """Nobody can acknowledge more than was sent."""
    with pytest.raises(PeerError):
        sending().receive(encode(event), 0.0)


@pytest.mark.parametrize(
    "numbers", [dict(first=9, end=8), dict(mark=4, tail_len=5)], ids=["bytes", "tail"]
)
def test_a_have_that_contradicts_itself(numbers):
    """Nothing can be looked for below offset 0, nor be asked for that has less than no bytes."""
    with pytest.raises(PeerError, match="before it begins"):
        greeted(ev.Have(ev.Holding.RECORDED, **numbers))


def test_a_proof_must_answer_its_probe():
    """As many digests as ranges, and only when they were asked for."""
    origin = Origin([b"abc" * 50])
    have = ev.Have(ev.Holding.UNRECORDED, end=100)
    for count in (None, 0, 1, 3000):
        source, (search,) = greeted(have)
        if count is None:
            with pytest.raises(PeerError):
                source.receive(encode(ev.Proof(())), 0.0)
            continue
        (measure,) = source.done(search, origin.perform(search))
        (sent,) = source.done(measure, origin.perform(measure))
        (probe,) = Reader().feed(sent.data)
        answer = ev.Proof((NO_DIGEST,) * min(count, len(probe.ranges) - 1))
        with pytest.raises(PeerError):
            source.receive(encode(answer), 0.0)


def test_nothing_is_delivered_before_the_agreement():
    """A source streams only after it has said where it begins."""
    source, (search,) = greeted()
    assert not source.streaming
    source.done(search, Origin([b"x"]).perform(search))
    assert source.streaming and source.state == states.STREAMING


def test_waiting_is_told_in_the_sinks_own_words():
    """A full disk over there is said here, and so is its end."""
    source = sending()
    (said,) = source.receive(encode(ev.Wait(b"/a: No space left on device")), 0.0)
    assert said.level == "warning" and "No space left" in said.text
    assert source.waiting == "/a: No space left on device"
    (said,) = source.receive(encode(ev.Wait(b"")), 0.0)
    assert said.level == "info" and source.waiting == ""


def test_a_failure_says_whether_to_retry():
    """A source ends for good, or connects again, as the sink says."""
    with pytest.raises(Refused, match="no entry"):
        sending().receive(encode(ev.Failure(False, b"no entry")), 0.0)
    with pytest.raises(LinkLost, match="restart") as caught:
        sending().receive(encode(ev.Failure(True, b"restart")), 0.0)
    with pytest.raises(LinkLost, match="no reason given"):
        sending().receive(encode(ev.Failure(True, b" ")), 0.0)
    assert type(caught.value) is LinkLost


@pytest.mark.parametrize(
    "error, retry", [(Refused("no"), False), (LinkLost("no"), True), (SyncFailed("no"), True)]
)
def test_a_sink_says_why_it_ends(error, retry):
    """Only a refusal is final."""
    (sent,) = Sink(0.0).fail(error)
    assert Reader().feed(sent.data) == [ev.Failure(retry, b"no")]


def test_an_orderly_end():
    """Bye closes both."""
    source = sending()
    (sent,) = source.bye()
    assert source.state == states.CLOSED
    with pytest.raises(LinkLost, match="closed"):
        streaming().receive(sent.data, 0.0)


def test_hello_carries_the_witness():
    """The status file's cursor travels along, so a sink can show it."""
    cursor = Cursor(generation(b"abc", 5), 3)
    (sent,) = Source(ME, "h\udcff", 0.0, witness=cursor, resend=True).open()
    (hello,) = Reader().feed(sent.data)
    assert (hello.witness, hello.witness_offset, hello.resend) == (cursor.generation, 3, True)


# --- time


ASKED = keepalive.PING_AFTER, keepalive.DEAD_AFTER
AT_REST = keepalive.CALM_PING_AFTER, keepalive.CALM_DEAD_AFTER


def peers():
    """A source that waits for an answer and a sink, both made at time 1000, and their times."""
    return [(Source(ME, "me", 1000.0), *ASKED), (Sink(1000.0), *AT_REST)]


@pytest.mark.parametrize("session,ask,dead", peers(), ids=["source", "sink"])
def test_a_silent_peer_is_noticed(session, ask, dead):
    """A question after a while of saying nothing; after a longer while of hearing nothing the
    link is lost."""
    assert session.tick(1000.0) == []
    assert session.due() == 1000.0 + ask
    (sent,) = session.tick(session.due())
    assert isinstance(Reader().feed(sent.data)[0], ev.Ping)
    assert session.tick(1000.0 + ask + 0.1) == []  # asked once
    session.tick(1000.0 + dead - 0.1)
    with pytest.raises(LinkLost, match="no sign of life"):
        session.tick(1000.0 + dead)


@pytest.mark.parametrize("session,_ask,dead", peers(), ids=["source", "sink"])
def test_any_word_is_a_sign_of_life(session, _ask, dead):
    """Even half a frame."""
    session.receive(encode(ev.Ping(3))[:2], 1040.0)
    session.tick(1040.0 + dead - 0.1)
    with pytest.raises(LinkLost):
        session.tick(1040.0 + dead)


def test_who_begins_to_wait_has_heard_nothing_for_long():
    """A source at rest sends, and the silence before that does not count."""
    clock = keepalive.Keepalive(0.0)
    clock.at(0.0, calm=True)
    assert not clock.dead(140.0)
    clock.at(140.0, calm=False)
    assert not clock.dead(140.0 + keepalive.DEAD_AFTER - 0.1)
    assert clock.dead(140.0 + keepalive.DEAD_AFTER)


@pytest.mark.parametrize("session", [peer[0] for peer in peers()], ids=["source", "sink"])
def test_a_ping_is_answered(session):
    """With its token."""
    (sent,) = session.receive(encode(ev.Ping(77)), 1001.0)
    assert Reader().feed(sent.data) == [ev.Pong(77)]
    assert session.receive(encode(ev.Pong(1)), 1002.0) == []


def test_a_sink_that_does_not_read_blames_nobody():
    """While the destination is blocked nothing is read: that silence is our own."""
    sink = Sink(0.0)
    for now in range(0, 500, 10):
        sink.tick(float(now), deaf=True)
    sink.tick(490.0 + keepalive.CALM_DEAD_AFTER - 0.1)
    with pytest.raises(LinkLost):
        sink.tick(490.0 + keepalive.CALM_DEAD_AFTER)


@pytest.mark.parametrize("session", [peer[0] for peer in peers()], ids=["source", "sink"])
def test_who_does_not_read_wants_no_answer(session):
    """A sign of life it is, but what answers it would pile up at the other side, for days perhaps."""
    words = []
    for now in range(2000, 2200):
        for sent in session.tick(float(now), deaf=True):
            words += Reader().feed(sent.data)
    assert len(words) >= 10 and set(words) == {ev.Pong(0)}


def test_a_sink_can_ask_at_once():
    """Another connection wants the pipe: is this one alive?"""
    (sent,) = streaming().ask()
    assert isinstance(Reader().feed(sent.data)[0], ev.Ping)
