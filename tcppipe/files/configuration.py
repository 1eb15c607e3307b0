"""A configuration file's text.

What stands in it are names of files, which are bytes: they are decoded as the system's own
names are, whatever the locale, so that both are the same text.
Servers read it while they serve: so nothing is waited for, as at a named pipe, and nothing is
read without an end, as from a device.
"""

from __future__ import annotations

import codecs
import errno
import os
import stat

from tcppipe.errors import Unreadable, reason

MOST = 1 << 24  # bytes


def read(path: str) -> str:
    """The text of the file `path`, without a byte order mark.  Raises Unreadable."""
    try:
        with open(path, "rb", opener=_open) as file:
            if os.fstat(file.fileno()).st_size > MOST:
                raise OSError(errno.EFBIG, f"larger than {MOST >> 20} MiB")
            data = file.read()  # with a size given, memory is taken for all of that
    except OSError as error:
        raise Unreadable(f"{path}: cannot read: {reason(error)}") from None
    return os.fsdecode(data.removeprefix(codecs.BOM_UTF8))


def _open(path: str, flags: int) -> int:
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    found = os.fstat(fd)
    known = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)  # of that open() speaks
    if not known and found.st_rdev != os.stat(os.devnull).st_rdev:  # which means: nothing
        os.close(fd)
        raise OSError(errno.EINVAL, "Not a regular file")
    return fd
