"""Beside NumPy, PyTorch, JAX and scikit-learn: ``python -m layers bench``."""
