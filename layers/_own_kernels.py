"""Refuse to run on somebody else's package ``kernels``.

Another distribution installs a top-level package of that name. pip lets the later one overwrite the
files of the other without a word, and beside an editable install the other one always wins. Or a
file of the user's own has that name. Nothing good comes of computing with it, so importing
``layers`` looks at once.
"""

import importlib.util
import sys
from pathlib import Path

import layers

_HERE = Path(__file__).resolve().parent.parent


def _location() -> Path | None:
    """The file of the package `kernels` that an import would give, without running it."""
    if "kernels" in sys.modules:
        file = getattr(sys.modules["kernels"], "__file__", None)
    else:
        spec = importlib.util.find_spec("kernels")
        file = spec.origin if spec is not None else None
    return None if file is None else Path(file).resolve()


def require() -> None:
    """Raise ImportError unless `kernels` lies beside this package and has its version.

    Raises
    ------
    ImportError
        It names the file that was found and the way out.
    """
    found = _location()
    expected = _HERE / "kernels" / "__init__.py"
    # Installed without sources, it is `__init__.pyc`.
    if found is not None and found.with_suffix(".py") == expected:
        import kernels

        version = getattr(kernels, "__version__", None)
        if version == layers.__version__ and hasattr(kernels, "dense_forward"):
            return
        problem = f"{found} is version {version} of another package or of numba-layers"
    else:
        problem = f"it is {found or 'missing or a namespace package'}"
    message = (
        f"layers {layers.__version__} needs its own package 'kernels' at {expected}, "
        f"but {problem}. {_way_out(found, expected)}"
    )
    raise ImportError(message, name="kernels", path=str(found))


def _way_out(found: Path | None, expected: Path) -> str:
    """What to do about what was found instead."""
    if (
        found is None
        or found.with_suffix(".py") == expected
        or {"site-packages", "dist-packages"} & set(found.parts)
    ):
        return (
            "Another distribution (often one named 'kernels') has put its files there. The way "
            "out: 'pip uninstall kernels', then 'pip install --force-reinstall --no-deps "
            "numba-layers', or a virtual environment without the other one."
        )
    own = found.parent if found.stem == "__init__" else found
    return (
        f"Python looks in {own.parent} first. The way out: rename {own}, if it is yours (to "
        f"'my_{own.name}', say), or take that folder out of sys.path and PYTHONPATH."
    )


require()
