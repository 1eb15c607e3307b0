"""The programs: from a command line to a driver."""
