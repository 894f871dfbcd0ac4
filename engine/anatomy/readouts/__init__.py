"""What a model answers: a file for each kind, and one table of them."""
