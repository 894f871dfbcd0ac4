"""Where each operator puts what its inputs hold: positions in the picture, and a rule for each operator."""
