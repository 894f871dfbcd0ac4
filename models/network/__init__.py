"""A model with all that is needed to show it photos."""
