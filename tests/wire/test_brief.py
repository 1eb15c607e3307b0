"""Each event in words."""

import pytest
from test_frames import EVENTS

from tcppipe.wire.brief import brief


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_one_line_of_text(event):
    """It begins with the event's name, and is one line that is not long."""
    words = brief(event)
    assert words.split()[0] == type(event).__name__.lower()
    assert words.isprintable() and len(words) < 1200
