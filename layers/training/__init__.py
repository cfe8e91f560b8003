"""The training loop and where it takes its rows from."""
