"""Gradients in the words of other runtimes, for files and for the providers that are these."""
