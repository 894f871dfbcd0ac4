"""Where photos and results lie: disks and addresses."""
