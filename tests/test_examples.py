"""The examples run, their pages show them whole, and what the pages say they print they print."""

import json
import re
import runpy
import signal
from pathlib import Path

import pytest

from tests.conftest import SECONDS

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
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


# The notebook


def cells_of(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def check_shown(path: Path) -> None:
    """A table, three pictures of a readable size, the same numbers, and nothing in red."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    shown = [output for cell in cells_of(notebook) for output in cell["outputs"]]
    assert all(each["output_type"] != "error" for each in shown)
    assert all(each.get("name") != "stderr" for each in shown)
    data = [each["data"] for each in shown if "data" in each]
    assert sum("<table>" in "".join(each.get("text/html", "")) for each in data) == 1
    sizes = [each["metadata"]["image/png"] for each in shown if "image/png" in each.get("data", {})]
    assert len(sizes) == 3
    assert max(size["width"] for size in sizes) <= 700
    assert [each["text/plain"] for each in data].count(["True"]) == 1  # resumed as if never stopped


def test_the_notebook_is_kept_with_its_outputs():
    check_shown(NOTEBOOK)
    assert str(ROOT) not in NOTEBOOK.read_text(encoding="utf-8")
    assert NOTEBOOK.stat().st_size < 400_000


@pytest.mark.compiled
def test_the_notebooks_code_runs(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="pictures need it")
    monkeypatch.chdir(tmp_path)
    names = {}
    # A shell that puts pytest into the background has it ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for cell in cells_of(json.loads(NOTEBOOK.read_text(encoding="utf-8"))):
            exec("".join(cell["source"]), names)
    finally:
        signal.signal(signal.SIGINT, before)
    assert names["model"].history.epochs == 30
    assert names["model"].fingerprint() == names["whole"].fingerprint()


@pytest.mark.compiled
def test_the_notebook_runs_in_a_kernel_of_jupyter(tmp_path, python):
    for name in ("nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(name, reason="a notebook's kernel needs it; `pip install -e '.[dev]'`")
    made = tmp_path / "made.ipynb"
    python(
        "import nbclient, nbformat\n"
        f"notebook = nbformat.read({str(NOTEBOOK)!r}, 4)\n"
        f"nbclient.NotebookClient(notebook, timeout={SECONDS}, kernel_name='python3').execute()\n"
        f"nbformat.write(notebook, {str(made)!r})"
    )
    check_shown(made)
