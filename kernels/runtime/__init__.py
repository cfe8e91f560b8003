"""How functions are compiled, checked, cached and given to threads."""
