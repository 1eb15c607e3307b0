"""How often to wake up: for each append while they are few, for many together while they are many.

Each wake-up costs both sides the same whether it brings a line or a thousand.
"""

from __future__ import annotations

RATE = 200.0  # wake-ups a second that go on for ever
BURST = 400.0  # wake-ups that may come as fast as they like before that


class Pace:
    """Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._left = BURST
        self._at = 0.0

    def next(self, now: float) -> float:
        """We were woken: when to wake up next at the earliest; `now` or before means at once."""
        self._left = min(BURST, self._left + (now - self._at) * RATE) - 1.0
        self._at = now
        return now - self._left / RATE if self._left < 0.0 else now
