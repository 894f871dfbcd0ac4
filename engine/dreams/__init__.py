"""Pictures that a network would like to see: objectives, and the steps of their ascent."""
