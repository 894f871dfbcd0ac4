"""What is found in photos, and where it lies on them."""
