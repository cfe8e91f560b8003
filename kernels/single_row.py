"""One row by a transposed B: what a dense layer's input gradient is for a batch of one.

::

      out[j] = sum over k of a[k] . b[j, k]        b, as it lies
                                                   k ->
      Chains of many j have to run side by       j a b c d | e f g h
      side, but memory runs along k. So short    | i j k l | ...
      runs of k are turned in registers, and     v m n o p |
      join the chains from there: a e i m,           ...
      then b f j n, ...

Each number of B is used once. A packed copy of it would only be written to be read again (Zen 4:
half the time without, at 1 x 784 x 512), which pays from the second row of C on.
"""

from kernels.jit import inner
from kernels.simd import (
    TileShape,
    ahead,
    load_tile,
    multiply_turned,
    store_tile,
    tile_of_zeros,
)

# Two vectors' chains hide most of a multiply-add's latency; more rows of B at a time, and those a
# power of two apart fall out of level 1 before all of a line is used.
_LANES = 8
_SHAPE = TileShape(1, 2, lanes=_LANES)
_COLUMNS = 2 * _LANES
_TURN = 8
"""Steps of k in a turn: half a line of each row, a whole one in float64."""


@inner
def chains_of_single_row(columns, terms, a, b, sums, resumes):
    """The chains of a strip of C that is one row high, over a part of k; ``b`` is read as it lies.

    They go on from what is in ``sums`` where a part came before.
    """
    for j in range(0, columns, _COLUMNS):
        count, target = columns - j, ahead(sums.start, j)
        tile = tile_of_zeros(_SHAPE, b.start, 0)
        if resumes:
            tile = load_tile(tile, target, 0, count)
        a_k, b_k = a.start, ahead(b.start, j * b.row)
        for _ in range(terms // _TURN):
            tile = multiply_turned(tile, a_k, a.step, b_k, b.row, _TURN, count)
            a_k, b_k = ahead(a_k, _TURN * a.step), ahead(b_k, _TURN)
        for _ in range(terms % _TURN):
            tile = multiply_turned(tile, a_k, a.step, b_k, b.row, 1, count)
            a_k, b_k = ahead(a_k, a.step), ahead(b_k, 1)
        store_tile(tile, target, 0, count)
