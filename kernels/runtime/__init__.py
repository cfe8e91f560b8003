"""Compiling functions, checking arguments, caching machine code, running threads."""
