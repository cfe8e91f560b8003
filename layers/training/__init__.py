"""The training loop, where it takes its rows from, and what goes with it."""
