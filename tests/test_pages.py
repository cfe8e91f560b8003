"""The code of the pages runs as it stands there, and links lead somewhere."""

import gzip
import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from layers import datasets

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(page: str) -> list[tuple[str, str]]:
    """What a block needs, and its code."""
    path = ROOT / "README.md" if page == "README" else ROOT / "docs" / f"{page}.md"
    text = path.read_text(encoding="utf-8")
    return re.findall(r"^```python(?: needs (\w+))?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.compiled
@pytest.mark.parametrize("page", ["README", "training", "saving", "exchange", "estimators", "book"])
def test_the_code_of_a_page_runs(tmp_path, page, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page == "book":
        write_fashion(tmp_path / "fashion_mnist")
    if page == "README":
        write_passengers(tmp_path)
    found = blocks(page)
    assert len(found) >= 3
    names = {"__name__": page}
    for needed, block in found:
        needed = needed or ("matplotlib" if "plot" in block else "")
        if not needed or find_spec(needed):
            exec(compile(block, f"{page}.md", "exec"), names)


def write_passengers(folder: Path) -> None:
    """Tables as the README names them, with a gap and an id."""
    rows = [f"{i},{i % 2},{i % 3 + 1},{'female' if i % 2 else 'male'},{i % 60}" for i in range(80)]
    rows[3] = "3,1,1,female,"
    for name in ("titanic.csv", "new.csv"):
        head = "PassengerId,Survived,Pclass,Sex,Age"
        (folder / name).write_text("\n".join([head, *rows, ""]), encoding="utf-8")


def write_fashion(folder: Path) -> None:
    """Files of Fashion-MNIST's names and format, with digits in the middle of 28 x 28 pixels."""
    folder.mkdir()
    x, y = datasets.load_digits()
    images = np.pad((x * 255).astype(">u1").reshape(-1, 8, 8), ((0, 0), (10, 10), (10, 10)))
    for name, rows in (("train", slice(500)), ("t10k", slice(500, 600))):
        for kind, array in (("images-idx3", images[rows]), ("labels-idx1", y[rows].astype(">u1"))):
            head = np.array([0x0800 + array.ndim, *array.shape], ">i4")
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(
                gzip.compress(head.tobytes() + array.tobytes())
            )


@pytest.mark.compiled
def test_the_gallery_is_made_by_its_page(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="pictures need it")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gallery.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "docs" / "gallery.py"), run_name="__main__")
    made = {path.name for path in (tmp_path / "gallery").iterdir()}
    assert made == {path.name for path in (ROOT / "docs" / "gallery").iterdir()}
    shown = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert made == set(re.findall(r"^!\[.+\]\(gallery/(.+)\)$", shown, re.MULTILINE))
    assert all(path.stat().st_size < 40_000 for path in (tmp_path / "gallery").iterdir())


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, anchor


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\((?:\.\./)?([^)]*)\)", index))
    pages = {
        path.relative_to(ROOT / "docs").as_posix() for path in PAGES[1:] if path.name != "README.md"
    }
    assert pages - named <= {"znver3/benchmarks.md", "znver4/benchmarks.md"}  # linked by the README
