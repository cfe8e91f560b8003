"""``python -m layers``."""
