"""Photos: read, and made to fit a model."""
