"""Fixtures for stories of real processes."""

import pytest
from stage import Stage, Writer


@pytest.fixture
def stage(tmp_path):
    """A Stage in a temporary folder; at the end nothing of it is running."""
    stage = Stage(tmp_path)
    try:
        yield stage
    finally:
        stage.close()


@pytest.fixture
def pipe(stage):
    """A Pipe with an origin of three lines; server and client are not yet started."""
    return stage.pipe(b"one\ntwo\nthree\n")


@pytest.fixture
def pull(stage):
    """A Pull with an origin of three lines; neither side is started."""
    return stage.pull(b"one\ntwo\nthree\n")


@pytest.fixture
def writer():
    """Makes Writers, which stop at the end of the test whatever happens."""
    writers = []

    def make(path, pause=0.001):
        writers.append(Writer(path, pause))
        return writers[-1]

    yield make
    for one in writers:
        if one.is_alive():
            one.stop()
