"""What peers can say, and how it is spelled: version 1 (push1) and version 2 (frames)."""
