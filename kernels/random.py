"""Random numbers that belong to an element, not to a thread: Philox4x32-10.

Element i of a stream is a function of (key, stream, i) alone, so the numbers do not depend on who
computes them, the order, the CPU or NumPy's version. From "Parallel Random Numbers: As
Easy as 1, 2, 3" (Salmon, Moraes, Dror and Shaw, SC 2011); tested against its known answers.
"""

import numpy as np
from numba import prange

from kernels.intrinsics import counted, fma, local, pointer, splatted, store_all
from kernels.runtime.jit import Array, inner, kernel

# All arithmetic is in uint64, which holds the product of two 32-bit words. Numba would convert a
# uint64 and a plain literal to float64.
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_MULTIPLY_0, _MULTIPLY_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_ONE = np.uint64(1)
_ROUNDS = 10
_BLOCK = 4096
DRAWS = 8
"""Elements that are drawn at a time, as lanes of a vector."""


@inner
def philox(key, stream, element):
    """Four 32-bit words, each in a uint64: Philox4x32-10 of counter (element, stream) and key.

    The element may be a vector: then so are the words.
    """
    c0, c1 = element & _LOW, element >> _32
    c2, c3 = splatted(element, stream & _LOW), splatted(element, stream >> _32)
    k0, k1 = key & _LOW, key >> _32
    for _ in range(_ROUNDS):
        # The words have 32 bits already; said here, a vector's product is one instruction.
        product_0, product_1 = _MULTIPLY_0 * (c0 & _LOW), _MULTIPLY_1 * (c2 & _LOW)
        c0, c1, c2, c3 = (
            (product_1 >> _32) ^ c1 ^ k0,
            product_1 & _LOW,
            (product_0 >> _32) ^ c3 ^ k1,
            product_0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@kernel(
    "key uint64, stream uint64, low number, high number -> out (...)",
    # Weights are drawn once, and the parallel form takes two seconds to compile: 20 ms go before.
    nanoseconds=lambda key, stream, low, high, out: 10.0 * out.size - 2e7,
)
def uniform(key: int, stream: int, low: float, high: float, out: Array) -> None:
    """Uniform numbers: out_i = fma(u_i, high - low, low), u_i in [0, 1) of 24 or 53 bits.

    u_i is the first 24 bits of Philox word 0 in float32, the first 53 bits of words 0 and 1 in
    float64, so that both dtypes draw the same number to float32's precision.

    Parameters
    ----------
    key, stream : int
        Unsigned, 64 bits each.
    low, high : float
    out : ndarray, float32 or float64
    """
    out = out.reshape(out.size)
    low, width = out.dtype.type(low), out.dtype.type(high - low)
    # 53 bits of each draw; float32 drops the lowest 29, so that nothing is rounded.
    drop = np.uint64(11) if out.itemsize == 8 else np.uint64(40)
    scale = out.dtype.type(2.0**-53 if out.itemsize == 8 else 2.0**-24)
    for block in prange((out.size + _BLOCK - 1) // _BLOCK):
        for i in range(block * _BLOCK, min(out.size, (block + 1) * _BLOCK)):
            w0, w1, _, _ = philox(key, stream, np.uint64(i))
            u = out.dtype.type(((w0 << _32) | w1) >> drop) * scale
            out[i] = fma(u, width, low)


@kernel("key uint64, stream uint64 -> out <n>")
def permutation(key: int, stream: int, out: Array) -> None:
    """A random order of 0 ... n - 1: the Fisher-Yates shuffle, from the last place down.

    Place i is exchanged with place floor(r_i (i + 1) / 2^64), where r_i is words 0 and 1 of element
    i: uniform to one part in 2^64 / n.

    Parameters
    ----------
    key, stream : int
        Unsigned, 64 bits each.
    out : ndarray of int64, (n,)
    """
    for i in range(out.size):
        out[i] = i
    chosen = local(pointer(out), DRAWS)
    for first in range(out.size - DRAWS, -DRAWS, -DRAWS):  # the last elements drawn are below 0
        elements = counted(np.uint64(first), DRAWS)
        w0, w1, _, _ = philox(key, stream, elements)
        places = elements + _ONE
        store_all((w0 * places + ((w1 * places) >> _32)) >> _32, chosen)
        for lane in range(DRAWS - 1, -1, -1):
            i, j = first + lane, chosen[lane]
            if i > 0:
                out[i], out[j] = out[j], out[i]
