"""What SNMP is told while the sources go on in other threads."""

from types import SimpleNamespace

from tcppipe.drivers.board import Board


class Mending:
    """A source whose trouble is over as soon as somebody has asked for it."""

    source = SimpleNamespace(host="web1", remote="/log/a")
    tried = True

    def __init__(self):
        self._errors = ["no such file there, waiting for it"]

    @property
    def error(self):
        """What is wrong, once."""
        return self._errors.pop() if self._errors else None


def test_a_trouble_that_ends_while_it_is_told(tmp_path):
    """It is told in its words, or not at all."""
    board, source = Board(str(tmp_path), lambda level, text: None), Mending()
    board.show([source], 1.0)
    assert (tmp_path / "web1").read_text() == "ERR /log/a: no such file there, waiting for it\n"
    board.show([source], 2.0)
    assert (tmp_path / "web1").read_text() == "OK\n"
