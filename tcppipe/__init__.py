"""tcppipe copies growing files to other hosts, byte for byte."""

__version__ = "2.0.0"
