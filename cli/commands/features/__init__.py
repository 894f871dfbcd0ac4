"""Commands about layers and channels."""
