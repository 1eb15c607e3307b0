"""The two sessions as machines without I/O: bytes and results in, actions out."""
