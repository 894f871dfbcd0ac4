"""One spelling of every model."""
