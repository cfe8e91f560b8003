"""The path that a callback writes to."""

import os
from pathlib import Path
from typing import Any

from kernels.runtime import checks


def checked_path(place: str, path: Any) -> Path:
    """A path, or a TypeError that names the place."""
    try:
        return Path(os.fsdecode(path))
    except TypeError:
        raise TypeError(f"{place}: path is {checks.shown(path)}, expected a path") from None
