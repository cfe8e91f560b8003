"""A model as compiled programs."""
