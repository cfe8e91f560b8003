"""The examples run, their pages show them whole, and what the pages say they print they print."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ["binary", "multi_class", "multi_label", "regression"]
LISTED = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / "examples" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def code_of(script: str) -> str:
    """Without the docstring and blank lines."""
    source = (ROOT / "examples" / script).read_text(encoding="utf-8")
    return without_blanks(source.split('"""', 2)[2])


def without_blanks(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line)


def test_each_example_is_tested():
    assert LISTED == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_page_shows_its_script(name):
    shown = without_blanks("".join(blocks(f"{name}.md", "python")))
    assert shown == code_of(f"{name}.py")


@pytest.mark.compiled
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_its_page_says(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    assert blocks(f"{name}.md", "text") == [capsys.readouterr().out]
    assert len(list(tmp_path.glob("*.npz"))) == 1
