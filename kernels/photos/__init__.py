"""Pixels of photos: cut, resized, normalised, laid over."""
