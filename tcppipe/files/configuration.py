"""A configuration file's text.

What stands in it are names of files, which are bytes: they are decoded as the system's own
names are, whatever the locale, so that both are the same text.
"""

import codecs
import os

from tcppipe.errors import Unreadable, reason


def read(path):
    """The text of the file `path`, without a byte order mark.  Raises Unreadable."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise Unreadable(f"{path}: cannot read: {reason(error)}") from None
    return os.fsdecode(data.removeprefix(codecs.BOM_UTF8))
