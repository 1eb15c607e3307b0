"""Memory that is read into: nobody's view of it ever changes behind his back."""

from tcppipe.files.buffer import SMALL, Buffer


def filled(buffer, data):
    """A view of these bytes in the buffer, as a reader hands them on."""
    view = buffer.view()
    view[: len(data)] = data
    buffer.used = len(data)
    return view[: len(data)]


def test_what_is_still_looked_into_is_not_given_back():
    """A link that is slow holds views of what was read; the pipe is quiet, and lets go of its
    memory.  The views are what they were.  (Zeros at 51998aa: MADV_DONTNEED.)"""
    buffer = Buffer(1 << 18)
    held = filled(buffer, b"x" * (1 << 18))
    buffer.release()
    assert bytes(held) == b"x" * (1 << 18)


def test_what_is_still_looked_into_is_not_used_again():
    """The next thing that is read stands elsewhere, as often as it takes."""
    buffer = Buffer(1 << 16)
    held = [filled(buffer, bytes([letter]) * 1000) for letter in b"abcdefgh"]
    assert [bytes(view) for view in held] == [bytes([letter]) * 1000 for letter in b"abcdefgh"]


def test_what_nobody_looks_into_is_used_again():
    """A fast stream reads into the same pages for ever: fresh ones cost more than the copying."""
    buffer = Buffer(1 << 16)
    memory = None
    for _ in range(100):
        view = filled(buffer, b"y" * 1000)
        assert memory is None or memory is view.obj
        memory = view.obj
        del view


def test_memory_goes_when_it_was_large():
    """Little is kept for the next line; a burst's pages go back to the system."""
    buffer = Buffer(1 << 16)
    memory = filled(buffer, b"z" * SMALL).obj
    buffer.release()
    assert buffer.view().obj is memory
    filled(buffer, b"z" * (SMALL + 1))
    assert buffer.large
    buffer.release()
    assert not buffer.large and buffer.view().obj is not memory
