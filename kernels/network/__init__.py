"""Many mini-batches of a whole network in one compiled call."""
