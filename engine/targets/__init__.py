"""What is to be explained: a language for it, and a network that answers with it."""
