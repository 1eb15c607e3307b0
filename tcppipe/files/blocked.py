"""What cannot be done for now, as an error that says so."""

from tcppipe.errors import Blocked, reason


class blocked:
    """A context: an OSError in it becomes Blocked, the object first, the cause last."""

    def __init__(self, path, what):
        self.path, self.what = path, what

    def __enter__(self):
        return self

    def __exit__(self, _kind, error, _trace):
        if isinstance(error, OSError):
            text = f"{self.path}: {self.what}, waiting: {reason(error)}"
            raise Blocked(text) from error
