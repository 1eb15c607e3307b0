"""TCPPIPE_TRACE: what two sides say to each other, and nothing of what they carry."""

import pytest
from stage import PATIENCE, wait_until

SECRET = b"the password is swordfish\n"


@pytest.fixture
def traced(stage):
    """A pipe, both sides of which tell."""
    pipe = stage.pipe(SECRET)
    for process in (pipe.server, pipe.client):
        process.env["TCPPIPE_TRACE"] = "1"
    return pipe


def test_the_frames_of_a_pipe(traced):
    """A pipe is established and a line is appended: each frame is logged at both ends, with its
    numbers and the state it comes in, and no content is."""
    traced.up()
    traced.arrives()
    traced.append(SECRET)
    traced.arrives()
    told = f"streaming < ack serial=1 offset={2 * len(SECRET)}"
    traced.client.wait_log(told)
    for frame in (
        "greeting > hello version=2",
        "begin why=fresh",
        f"streaming > data offset={len(SECRET)} data={len(SECRET)} bytes",
        f"check offset={2 * len(SECRET)}",
    ):
        assert frame in traced.client.log, frame
        assert frame.replace(" > ", " < ") in traced.server.log, frame
    assert told.replace(" < ", " > ") in traced.server.log
    assert "swordfish" not in traced.client.log + traced.server.log


def test_nothing_is_traced_unasked(stage):
    """Without the variable no frame is logged."""
    pipe = stage.pipe(SECRET).up()
    pipe.arrives()
    assert "hello" not in pipe.client.log + pipe.server.log


def test_the_frames_of_a_pull(stage):
    """The pull pair tells as well."""
    pull = stage.pull(SECRET)
    for process in (pull.server, pull.client):
        process.env["TCPPIPE_TRACE"] = "1"
    pull.up()

    def told():
        return "< ack serial=1" in pull.server.log and "> ack serial=1" in pull.client.log

    wait_until(told, lambda: pull.server.log + pull.client.log, PATIENCE)
    assert "swordfish" not in pull.server.log + pull.client.log
