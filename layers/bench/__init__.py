"""``python -m layers bench``: compared with NumPy, PyTorch, JAX and scikit-learn."""
