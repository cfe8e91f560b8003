"""The training loop and the sources of its rows."""
