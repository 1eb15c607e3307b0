"""Tests of files kill their subjects by dropping them: what those held open is closed here."""

import os
from contextlib import suppress

import pytest


@pytest.fixture(autouse=True)
def no_descriptor_stays():
    """The kernel closes what a killed process had open; nobody does it for an object."""
    before = set(os.listdir("/dev/fd"))
    yield
    for name in set(os.listdir("/dev/fd")) - before:
        with suppress(OSError):
            os.close(int(name))
