"""What single layers and channels hold and answer to."""
