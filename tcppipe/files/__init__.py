"""The hands that touch disks: the origin's follower, the sink's destination and ledger."""
