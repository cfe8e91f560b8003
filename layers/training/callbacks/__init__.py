"""Callbacks for `Sequential.fit`: when to stop, what to keep, how fast to go on, what to note."""
