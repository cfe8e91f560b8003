"""The code of the pages about files runs as it stands there."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.compiled
@pytest.mark.parametrize("page", ["saving", "exchange"])
def test_the_code_of_a_page_runs(tmp_path, page, python):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python(?: needs (\w+))?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 4
    script = [f"import os; os.chdir({str(tmp_path)!r})"]
    script += [block for needed, block in blocks if not needed or find_spec(needed)]
    python("\n".join(script))
