"""Every loop, every wait and the clock: sessions, files and links brought together."""
