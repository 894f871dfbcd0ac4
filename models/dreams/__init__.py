"""Pictures that raise what a network answers."""
