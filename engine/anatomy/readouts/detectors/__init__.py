"""Detectors: how each producer lays out boxes, and how they are read."""
