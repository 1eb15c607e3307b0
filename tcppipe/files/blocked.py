"""What cannot be done for now, as an error that says so."""

from __future__ import annotations

import errno
import os

from tcppipe.errors import Blocked, reason


def _to_whom(error: OSError) -> str:
    """Whom it is denied to; a number, since a name may have to be waited for."""
    user = os.geteuid()
    return f" (to user {user})" if error.errno in (errno.EACCES, errno.EPERM) and user else ""


class blocked:
    """A context: an OSError in it becomes Blocked, the object first, the cause last."""

    def __init__(self, path: str, what: str) -> None:
        self.path, self.what = path, what

    def __enter__(self) -> blocked:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            text = f"{self.path}: {self.what}, waiting: {reason(error)}{_to_whom(error)}"
            raise Blocked(text) from error
