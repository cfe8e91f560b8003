"""A model as one compiled program."""
