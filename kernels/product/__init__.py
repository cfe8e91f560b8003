"""The matrix product as a chapter, read in this order.

``matmul.py`` (the entry) -> ``loops.py`` (loops 5 to 2) -> ``packing.py`` -> ``microkernel.py``
(loop 1 and the chain over k). Special cases: ``skinny.py`` (few rows) and ``split_k.py`` (few
outputs, long k). Data: ``flags.py``, ``tile_sizes.py``.
"""
