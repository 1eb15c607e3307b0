"""The states of both sessions, and which event may come in which.

One table for each side: `[state][event] -> state`.  What is not in the table is a
PeerError without any code for it.  Failure, Ping, Pong and Bye may come at any time
and change no state; they are in no table.
"""

from __future__ import annotations

from tcppipe.errors import PeerError
from tcppipe.wire import events as ev

GREETING = "greeting"  # Hello is under way
AGREEING = "agreeing"  # finding the place where both copies agree
STREAMING = "streaming"  # bytes flow
CLOSED = "closed"

ALWAYS = (ev.Ping, ev.Pong, ev.Failure, ev.Bye)

Table = dict[str, dict[type[ev.Event], str]]

# what a source may hear from a sink
SOURCE: Table = {
    GREETING: {ev.Past: GREETING, ev.Have: AGREEING, ev.Wait: GREETING},
    AGREEING: {ev.Proof: AGREEING, ev.Wait: AGREEING},
    STREAMING: {ev.Ack: STREAMING, ev.Ended: STREAMING, ev.Wait: STREAMING},
    CLOSED: {},
}

# what a sink may hear from a source
SINK: Table = {
    GREETING: {ev.Hello: AGREEING},
    AGREEING: {
        ev.Probe: AGREEING,
        ev.Begin: STREAMING,
        ev.Gap: AGREEING,
        ev.Wait: AGREEING,
    },
    STREAMING: {
        ev.Begin: STREAMING,
        ev.Data: STREAMING,
        ev.Check: STREAMING,
        ev.End: STREAMING,
        ev.Late: STREAMING,
        ev.Gap: STREAMING,
        ev.Wait: STREAMING,
    },
    CLOSED: {},
}


def follow(table: Table, state: str, event: ev.Event) -> str:
    """The state after `event` in `state`.  Raises PeerError when it may not come there."""
    if type(event) in ALWAYS:
        return state
    try:
        return table[state][type(event)]
    except KeyError:
        name = type(event).__name__.lower()
        raise PeerError(f"unexpected {name} while {state}") from None
