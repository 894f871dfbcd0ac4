"""What layers answer to and hold, on photos."""
