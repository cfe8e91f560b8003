"""Vectors and register tiles as Numba types, with the few operations that the kernels need.

Numba has no vector type and no fused multiply-add. This package adds both, so that a kernel can say
``acc = rank_one_update(acc, a, rows, b)`` in plain Python and become the machine's own vector
instructions. Every operation is one LLVM instruction or intrinsic without fast-math flags: what is
computed, and in which order, is what the kernel's text says, on every CPU.

- `Vector`: ``lanes`` numbers in one value. LLVM splits it over registers of whatever width
  the CPU has, so 16 lanes of float32 are one AVX-512, two AVX2 or four 128-bit registers, and the
  same bits.
- `Tile`: a grid of ``rows`` x ``vectors`` vectors, the accumulators of a matmul micro-kernel.
- A pointer is ``numba.types.CPointer(dtype)``: nothing checks it. Only kernels behind the gate
  (``kernels/runtime/checks.py``) may use one.
"""

from kernels.intrinsics.atomics import (
    add_at,
    claim,
    claim_turn,
    give_way,
    pause,
    read_at,
    start_counting,
)
from kernels.intrinsics.calls import FunctionShape, invoke
from kernels.intrinsics.cpu import LINE
from kernels.intrinsics.llvm import TileShape
from kernels.intrinsics.memory import (
    address_of,
    ahead,
    allocate,
    apart,
    as_item,
    first_of,
    free,
    integers_at,
    is_aligned,
    itemsize,
    lanes_of,
    local,
    local_number,
    located,
    memory_at,
    opaque,
    pointer,
    prefetch,
    row_of,
)
from kernels.intrinsics.register_tiles import (
    TURNED_BYTES,
    load_tile,
    load_turned,
    multiply_turned,
    prefetch_tile,
    rank_one_update,
    row_offsets,
    store_tile,
    tile_clipped,
    tile_masked,
    tile_of_zeros,
    tile_plus_stored,
    tile_scaled_plus_stored,
)
from kernels.intrinsics.vectors import (
    LANES,
    first_on,
    fma,
    for_dtype,
    from_bits,
    lane_numbers,
    load,
    magnitude,
    max_of_lanes,
    polynomial,
    select,
    splat,
    splatted,
    square_root,
    store,
    sum_of_lanes,
    to_bits,
    to_float,
    to_float64,
)

__all__ = [
    "LANES",
    "LINE",
    "TURNED_BYTES",
    "FunctionShape",
    "TileShape",
    "add_at",
    "address_of",
    "ahead",
    "allocate",
    "apart",
    "as_item",
    "claim",
    "claim_turn",
    "first_of",
    "first_on",
    "fma",
    "for_dtype",
    "free",
    "from_bits",
    "give_way",
    "integers_at",
    "invoke",
    "is_aligned",
    "itemsize",
    "lane_numbers",
    "lanes_of",
    "load",
    "load_tile",
    "load_turned",
    "local",
    "local_number",
    "located",
    "magnitude",
    "max_of_lanes",
    "memory_at",
    "multiply_turned",
    "opaque",
    "pause",
    "pointer",
    "polynomial",
    "prefetch",
    "prefetch_tile",
    "rank_one_update",
    "read_at",
    "row_of",
    "row_offsets",
    "select",
    "splat",
    "splatted",
    "square_root",
    "start_counting",
    "store",
    "store_tile",
    "sum_of_lanes",
    "tile_clipped",
    "tile_masked",
    "tile_of_zeros",
    "tile_plus_stored",
    "tile_scaled_plus_stored",
    "to_bits",
    "to_float",
    "to_float64",
]
