"""A network's program, and the interpreter that runs it on many mini-batches in one call."""
