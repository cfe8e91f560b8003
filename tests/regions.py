"""For scripts in separate processes: threading layers, and counted parallel regions."""

import ctypes

import pytest


def _has_tbb() -> bool:
    try:
        ctypes.CDLL("libtbb.so.12")
    except OSError:
        return False
    return True


# pip's TBB is found with LD_LIBRARY_PATH=.venv/lib.
_tbb = pytest.mark.skipif(
    not _has_tbb(), reason="TBB is not installed, or not in the loader's path"
)
LAYERS = ["omp", "workqueue", pytest.param("tbb", marks=_tbb)]

COUNT_REGIONS = """
import collections
from kernels.runtime import threads

threads._quota = None  # of the machine that runs the test
regions = collections.Counter()
enter = threads.Region.enter

def counted(region):
    given = enter(region)
    regions[given] += 1
    return given

threads.Region.enter = counted
"""
