"""What lies in the pages that a child of `tcppipe -c` does not share with its siblings.

    python scripts/speed/pages.py [PIPES]

Linux, as root.  Listing the objects of the parent costs memory itself: the sums are a little higher
than those of an ordinary child, which are printed first.
"""

import collections
import re
import struct
import sys
import time

from ground import Ground
from ours import Many
from runs import running

EXCLUSIVE = 1 << 63 | 1 << 56  # present, and nobody else's


class Listed(Many):
    """Many pipes, of whose parent the objects are known."""

    patch = "listed"


def main(pipes="8"):
    """Measure, and print."""
    ground = Ground("/dev/shm")
    try:
        for kind in (Many, Listed):
            with running(kind, ground, int(pipes)) as peer:
                time.sleep(1)
                own = sorted(peer.sources.memory()[0])
                print(f"{kind.__name__}: {own[len(own) // 2] >> 10} KiB of its own")
                if kind is Listed:
                    child = peer.sources.pids()[1]
                    tell(child, peer.folder / "run" / "objects")
    finally:
        ground.close()


def tell(pid, objects):
    """Print what the exclusive pages of a process hold, by the type that has most of each."""
    pages = exclusive(pid)
    types = collections.defaultdict(collections.Counter)
    for line in objects.read_text().splitlines():
        address, name = line.split(" ", 1)
        page = int(address) >> 12
        if page in pages:
            types[page][name] += 1
    told = collections.Counter(found.most_common(1)[0][0] for found in types.values())
    print(f"{len(pages)} pages, {len(pages) - len(types)} of them without an object of the parent")
    for name, count in told.most_common(8):
        print(f"  {count} with mostly {name}")


def exclusive(pid):
    """The numbers of the writable pages that nobody else has mapped."""
    found = set()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/pagemap", "rb") as map_:
        for line in maps:
            area = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-p", line)
            if area:
                first, last = (int(number, 16) >> 12 for number in area.groups())
                map_.seek(first * 8)
                words = struct.iter_unpack("<Q", map_.read((last - first) * 8))
                found.update(
                    first + n for n, (word,) in enumerate(words) if word & EXCLUSIVE == EXCLUSIVE
                )
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
