"""What is drawn at random: masks, coalitions of segments and orders of them, and what their answers say."""
