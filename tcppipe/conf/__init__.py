"""Configuration files, read without touching the system."""
