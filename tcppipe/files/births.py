"""How often another file has come under an origin's name, by what its directory tells.

A file that is made and deleted between two looks is seen by nobody; that it was there can be
known.  One that comes back from where it was moved to is no other file.
"""


class Births:
    """Counts for one name (bytes) in one directory.  Events are those of inotify(7)."""

    def __init__(self, name, flags):
        self._name = name
        self._flags = flags
        self._away = set()  # names of files that have stood under ours
        self._moving = set()  # cookies of such files, from one name to the next
        self._count = 0

    def take(self, mask, cookie, name):
        """One event of the directory.  True when it tells of a name that came or went."""
        flags = self._flags
        if mask & flags.MOVED_FROM:
            self._moving.clear()  # its other half is the very next event, if there is one
            if name == self._name or name in self._away:
                self._away.discard(name)
                self._moving.add(cookie)
        elif mask & flags.MOVED_TO:
            known = cookie in self._moving
            self._moving.clear()
            self._came(name, known)
        elif mask & flags.CREATE:
            self._came(name, False)
        elif mask & flags.DELETE:
            self._away.discard(name)
        else:
            return False
        return True

    def _came(self, name, known):
        if name == self._name:
            self._count += not known
        elif known:
            self._away.add(name)
        else:
            self._away.discard(name)

    def count(self):
        """How many have come since this was asked last."""
        count, self._count = self._count, 0
        return count
