"""From a unit of the network back to the pixels."""
