"""What layers answer to and hold."""
