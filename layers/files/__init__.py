"""Models in files, and arrays in .npz archives."""
