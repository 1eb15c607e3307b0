"""Every state against every event: what is not in the table is a PeerError."""

import pytest

from tcppipe.cursor import UNKNOWN
from tcppipe.errors import LinkLost, PeerError
from tcppipe.session import states
from tcppipe.session.sink import Sink
from tcppipe.session.source import Source
from tcppipe.wire import events as ev
from tcppipe.wire.frames import encode

STATES = (states.GREETING, states.AGREEING, states.STREAMING, states.CLOSED)

EVENTS = [
    ev.Hello(0, bytes(16), False, b""),
    ev.Have(ev.Holding.NOTHING),
    ev.Probe(()),
    ev.Proof(()),
    ev.Begin(ev.Why.FRESH, UNKNOWN, 0),
    ev.Data(0, b"x"),
    ev.Check(1, 0),
    ev.Late(0, 0, b"x"),
    ev.Past(()),
    ev.End(ev.Why.ROTATED, 0),
    ev.Ended(1, 0),
    ev.Ack(1, 0),
    ev.Gap(UNKNOWN, 0, 0, b"gone"),
    ev.Wait(b"full"),
    ev.Failure(True, b"no"),
    ev.Ping(1),
    ev.Pong(1),
    ev.Bye(),
]

# who hears what in which state, once more and by hand: the tables must say the same
ALLOWED = {
    ("source", "greeting"): "Past Have Wait",
    ("source", "agreeing"): "Proof Wait",
    ("source", "streaming"): "Ack Ended Wait",
    ("source", "closed"): "",
    ("sink", "greeting"): "Hello",
    ("sink", "agreeing"): "Probe Begin Gap Wait",
    ("sink", "streaming"): "Begin Data Check End Late Gap Wait",
    ("sink", "closed"): "",
}
ANY_TIME = "Ping Pong Failure Bye"
TABLES = {"source": states.SOURCE, "sink": states.SINK}


def name(event):
    """An event's name."""
    return type(event).__name__


def allowed(side, state):
    """The names of the events that may come."""
    return {*ALLOWED[side, state].split(), *ANY_TIME.split()}


CASES = [(side, state, event) for side in TABLES for state in STATES for event in EVENTS]


@pytest.mark.parametrize("side, state, event", CASES, ids=str)
def test_table(side, state, event):
    """follow() lets pass what may come, and refuses the rest with the names of both."""
    if name(event) in allowed(side, state):
        assert states.follow(TABLES[side], state, event) in STATES
    else:
        with pytest.raises(PeerError, match=f"unexpected {name(event).lower()} while {state}"):
            states.follow(TABLES[side], state, event)


@pytest.mark.parametrize("side, state, event", CASES, ids=str)
def test_sessions_ask_the_table(side, state, event):
    """The sessions themselves refuse what the table does not have."""
    session = Sink(0.0) if side == "sink" else Source(bytes(16), "me", 0.0)
    session.state = state
    try:
        session.receive(encode(event), 1.0)
    except PeerError as error:
        text = str(error)
    except LinkLost:
        text = ""  # Failure and Bye end a session in order
    else:
        text = ""
    assert text.startswith("unexpected") == (name(event) not in allowed(side, state))


@pytest.mark.parametrize("side", TABLES)
def test_every_state_is_in_the_table(side):
    """No state is forgotten, and each leads only to states that exist."""
    assert set(TABLES[side]) == set(STATES)
    assert {to for row in TABLES[side].values() for to in row.values()} <= set(STATES)


@pytest.mark.parametrize("state", STATES)
def test_what_may_come_any_time_changes_no_state(state):
    """Ping, Pong, Failure and Bye are in no table."""
    for event in EVENTS:
        if name(event) in ANY_TIME:
            assert states.follow(states.SINK, state, event) == state


@pytest.mark.parametrize("side", TABLES)
def test_each_side_hears_only_what_the_other_can_say(side):
    """What both tables have in common is that both may have to wait: nobody can play the other's
    role."""
    other = states.SINK if side == "source" else states.SOURCE
    mine = {event for row in TABLES[side].values() for event in row}
    assert mine & {event for row in other.values() for event in row} == {ev.Wait}
