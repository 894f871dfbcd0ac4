"""What operators do: their gradients and what they are made of."""
