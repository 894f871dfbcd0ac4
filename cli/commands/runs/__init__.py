"""Commands of runs over many photos."""
