"""A file that stands beside the log, and who may ask for it."""

import hashlib

import pytest

from tcppipe.cursor import HEAD, UNKNOWN, Cursor, Generation
from tcppipe.session.actions import Candidate, Found, Measure, Search
from tcppipe.session.agree import agree
from tcppipe.wire.events import Have, Holding, Probe

KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + bytes(range(256)) * 10
LOG = b"line\n"


def sha(data):
    """A SHA-256."""
    return hashlib.sha256(data).digest()


def candidate(name, data, ino, igen=77, **kw):
    """A file here."""
    head = data[:HEAD]
    known = Generation(1, ino, igen, 5, len(head), sha(head))
    return Candidate(name, known, len(data), 5, **kw)


STRANGER = candidate("log-private.key", KEY, 8, live=False, rotated=False)
LIVE = candidate("log", LOG, 9, live=True)
CONTENT = {STRANGER: KEY, LIVE: LOG}


def agreed(have, knows=b"", witness=None, candidates=(STRANGER, LIVE)):
    """(the file that is gone on with, how many digests of the stranger were made)."""
    found = Found("log", list(candidates))
    agreement = agree(have, found, witness)
    asked, digests = 0, None
    try:
        while True:
            item = agreement.send(digests)
            if isinstance(item, Search):
                digests = found
                continue
            data = knows if isinstance(item, Probe) else CONTENT[item.candidate]
            assert isinstance(item, (Measure, Probe))
            if data is KEY and isinstance(item, Measure):
                asked += len(item.ranges)
            digests = tuple(sha(data[at : at + length]) for at, length in item.ranges)
    except StopIteration as stop:
        return stop.value and stop.value.candidate, asked


def recorded(length, igen=0, **kw):
    """What a sink says that claims to have so many bytes of the key, which it knows."""
    known = Generation(1, 8, igen, 5, min(length, HEAD), sha(KEY[: min(length, HEAD)]))
    more = dict(end=length, mark=length, tail_len=length, tail=sha(KEY[:length]))
    return Have(Holding.RECORDED, generation=known, **{**more, **kw})


@pytest.mark.parametrize(
    "have, knows",
    [
        (Have(Holding.NOTHING), b""),
        (Have(Holding.UNRECORDED, generation=UNKNOWN._replace(ino=8)), b""),
        (Have(Holding.UNRECORDED, generation=UNKNOWN._replace(ino=8), end=1), KEY[:1]),
        (Have(Holding.UNRECORDED, end=36), KEY[:36]),
        (recorded(36), KEY[:36]),
        (recorded(1023), KEY[:1023]),
        (recorded(36, mark=0, tail_len=0), KEY[:36]),
        (recorded(0, igen=77), b""),
        (recorded(36, igen=78), KEY[:36]),
        (recorded(2000)._replace(generation=UNKNOWN._replace(ino=8)), KEY),
    ],
)
def test_guessing_is_not_knowing(have, knows):
    """Nothing, an inode, a beginning that can be guessed: the log is sent, and the stranger is not
    compared piece by piece, which would tell whether a guess was right."""
    found, asked = agreed(have, knows)
    assert found is LIVE
    assert asked <= 1


@pytest.mark.parametrize(
    "have, knows",
    [
        (recorded(1024), KEY[:1024]),
        (recorded(2000), KEY[:2000]),
        (recorded(36, igen=77), KEY[:36]),
        (Have(Holding.UNRECORDED, end=1024), KEY[:1024]),
        (Have(Holding.UNRECORDED, end=len(KEY)), KEY),
    ],
)
def test_who_was_given_its_beginning(have, knows):
    """It was the log once, and got another name by hand: the rest of it is sent."""
    assert agreed(have, knows)[0] is STRANGER


def test_our_own_status_file():
    """It says that the file was the log: then it is sent, by its inode."""
    ours = Cursor(Generation(1, 8, 0, 5, 36, sha(KEY[:36])), 36)
    assert agreed(Have(Holding.NOTHING), witness=ours)[0] is STRANGER


def test_only_strangers():
    """The log is missing for now: nothing is sent in its place."""
    for resend in (False, True):
        agreement = agree(Have(Holding.NOTHING), Found("log", [STRANGER]), None, resend)
        with pytest.raises(StopIteration) as stop:
            next(agreement)
        assert stop.value.value is None
