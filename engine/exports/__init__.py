"""Gradients as files for other runtimes."""
