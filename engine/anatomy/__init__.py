"""What the parts of a network are: feature maps, the head, what it answers."""
