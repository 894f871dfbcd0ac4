"""Runs over many photos."""
