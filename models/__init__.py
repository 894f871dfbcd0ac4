"""Which models exist, and how pictures go into them and come out again."""
