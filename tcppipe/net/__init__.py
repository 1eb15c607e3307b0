"""Connections, and who is at the other end of them."""
