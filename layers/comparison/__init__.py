"""Every kernel compared with its NumPy reference."""
