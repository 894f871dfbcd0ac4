"""What hiding a place does, computed in full or only where something changes."""
