"""Where the time of one training step goes."""
