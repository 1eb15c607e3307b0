"""What a process of ours is to its system: where it lives, how it is found, what it says."""
