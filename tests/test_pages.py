"""The code of the pages about files runs as it stands there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("page", "needs"),
    [
        ("saving", None),
        ("exchange", None),
        ("exchange", "safetensors"),
        ("exchange", "onnxruntime"),
        ("exchange", "torch"),
    ],
)
def test_the_code_of_a_page_runs(tmp_path, page, needs, python):
    """With the blocks that need one library, since to import all of them takes long.

    Computed by NumPy: other tests look at compiled training.
    """
    if needs is not None:
        pytest.importorskip(needs)
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python(?: needs (\w+))?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    wanted = [block for needed, block in blocks if needed in ("", needs)]
    assert len(wanted) >= (1 if needs is None else 2)
    begins = [f"import os; os.chdir({str(tmp_path)!r})"]
    begins += ["import layers", "by_numpy = layers.backend('numpy')", "by_numpy.__enter__()"]
    python("\n".join([*begins, *wanted]), seconds=240)  # of a library's first import
