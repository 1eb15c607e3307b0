"""Whom a file is to belong to: names and numbers of users and groups."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable

from tcppipe.errors import ConfigError

NOBODY = (1 << 32) - 1  # no user and no group has this number, or a larger one


def look_up_owner(owner: str) -> tuple[int, int]:
    """(uid, gid) of "USER" or "USER:GROUP", names or numbers; gid -1: leave it.

    Raises ConfigError when there is no such user or group.
    """
    user, _, group = owner.partition(":")
    uid = _number(owner, "user", user, lambda: pwd.getpwnam(user).pw_uid)
    gid = _number(owner, "group", group, lambda: grp.getgrnam(group).gr_gid) if group else -1
    return uid, gid


def _number(owner: str, what: str, word: str, look_up: Callable[[], int]) -> int:
    if word.isascii() and word.isdigit() and len(word) <= 10 and int(word) < NOBODY:
        return int(word)
    try:
        return look_up()
    except (KeyError, ValueError):
        raise ConfigError(f"owner={owner}: this system has no {what} {word!r}") from None
