"""Comparison of every kernel with its NumPy reference."""
