"""The published results and their history, from a run of asv on a project of two commits."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "asv_benchmarks"))
pytest.importorskip("asv", reason="asv comes with the extra dev")
import history  # noqa: E402 - after asv is known to be there
import website  # noqa: E402 - as above
import website_check  # noqa: E402 - as above

BENCHMARKS = """
class SquareBesideNumPy:
    params = [[8, 16]]
    param_names = ["n"]
    unit = "x"

    def track_time_over_numpy(self, n):
        return 4 / n


class FitStepsBesideNumPy:
    params = [["small: 4-2, batch 8", "a & b"], ["one", "two"]]
    param_names = ["network", "kind of"]
    unit = "x"

    def track_time_over_numpy(self, network, kind):
        return 0.25 if kind == "one" else float("nan")


def track_plain():
    return 3


def track_not_recorded():
    return 4
"""
RECORDED = "NumPy|plain"
CONFIG = {
    "version": 1,
    "project": "little",
    "repo": "..",
    "branches": ["main"],
    "environment_type": "virtualenv",
    "benchmark_dir": "benchmarks",
    "results_dir": "results",
    "env_dir": ".asv/env",
    "html_dir": ".asv/html",
}


def run(*command, cwd, home):
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_CONFIG_NOSYSTEM": "1"}
    names |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in names.items()}
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | names | {"HOME": str(home)},
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """asv's configuration in a repository of two commits: one run, one a copy, twice as slow."""
    home, repo = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("repo")
    folder = repo / "bench"
    (folder / "benchmarks").mkdir(parents=True)
    (folder / "benchmarks" / "__init__.py").write_text("")
    (folder / "benchmarks" / "some.py").write_text(BENCHMARKS)
    path = folder / "asv.conf.json"
    path.write_text(json.dumps(CONFIG))

    def git(*arguments):
        return run("git", *arguments, cwd=repo, home=home)

    git("init", "-q", "-b", "main")
    commits = []
    for day in (1, 2):
        (repo / "day").write_text(str(day))
        git("add", ".")
        git("commit", "-qm", f"day {day}")
        commits.append(git("rev-parse", "HEAD"))

    def asv(*arguments):
        run(sys.executable, "-m", "asv", *arguments, "--config", path, cwd=folder, home=home)

    asv("machine", "--yes", "--machine", "here")
    options = ["--quick", "--machine", "here", "--bench", RECORDED]
    asv("run", "--python=same", *options, "--set-commit-hash", commits[1])
    (recorded,) = (folder / "results" / "here").glob(f"{commits[1][:8]}*.json")
    document = json.loads(recorded.read_text())
    document["commit_hash"] = commits[0]
    for entry in document["results"].values():
        entry[0] = [2 * value if isinstance(value, float | int) else value for value in entry[0]]
    name = recorded.name.replace(commits[1][:8], commits[0][:8])
    recorded.with_name(name).write_text(json.dumps(document))
    return path


# --- the site ---


def archive_of(path, content):
    """A package's archive, with one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo(f"package/{path}")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def sha(algorithm, content):
    return base64.b64encode(hashlib.new(algorithm, content).digest()).decode()


@pytest.fixture
def invented(monkeypatch, tmp_path):
    """A page that takes one script from elsewhere, and the cached package that has it."""
    script, address = b"let x = 1;", "https://cdn.example/x.min.js"
    packed = archive_of("dist/x.js", script)
    package = website.Package("x", "1.0.0", sha("sha512", packed))
    monkeypatch.setattr(website, "ASSETS", {address: website.Asset(package, "dist/x.js")})
    site, cache = tmp_path / "site", tmp_path / "cache"
    site.mkdir()
    cache.mkdir()
    (cache / "x-1.0.0.tgz").write_bytes(packed)
    (site / "index.html").write_text(
        f'<script src="{address}" integrity="sha256-{sha("sha256", script)}" '
        f'crossorigin="anonymous" onerror="f()"></script>\n<a href="https://elsewhere.example">'
    )
    return site, cache


def test_a_script_of_another_host_comes_to_lie_beside_the_page(invented):
    site, cache = invented
    with pytest.raises(website.Refused, match=r"index\.html takes https://cdn\.example/x\.min\.js"):
        website.expect_no_other_host(site)
    website.localise(site, cache)
    website.expect_no_other_host(site)  # a link that one may follow is no matter
    page = (site / "index.html").read_text()
    assert '<script src="assets/x/dist/x.js" onerror="f()"></script>' in page
    assert (site / "assets/x/dist/x.js").read_bytes() == b"let x = 1;"


def test_another_script_than_the_page_asks_for_is_refused(invented):
    site, cache = invented
    page = site / "index.html"
    page.write_text(re.sub('sha256-[^"]*', "sha256-AAAA", page.read_text()))
    with pytest.raises(website.Refused, match=r"assets/x/dist/x\.js has the hash .* sha256-AAAA"):
        website.localise(site, cache)


def test_another_archive_than_the_table_has_is_refused(invented):
    site, cache = invented
    (cache / "x-1.0.0.tgz").write_bytes(archive_of("dist/x.js", b"let x = 2;"))
    with pytest.raises(website.Refused, match=r"x-1\.0\.0\.tgz has the hash"):
        website.localise(site, cache)


def test_a_page_of_another_asv_is_refused(invented):
    site, cache = invented
    (site / "index.html").write_text("<html>")
    with pytest.raises(website.Refused, match="ASSETS is for another asv"):
        website.localise(site, cache)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", "<link rel='stylesheet' href='//far.example/a.css'>"),
        ("a.html", "<script\n src=https://far.example/a.js></script>"),
        ("a.css", "p { background: url(http://far.example/a.png) }"),
        ("a.css", '@import "https://far.example/a.css";'),
        ("a.js", 's.src = "https://far.example/a.js";'),
        ("a.js", '$.getScript("https://far.example/a.js")'),
    ],
)
def test_what_comes_from_another_host_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(website.Refused, match=rf"{name} takes .*//far\.example/a\.\w+ from"):
        website.expect_no_other_host(tmp_path)


def test_the_table_is_for_the_installed_asv():
    import asv

    page = (Path(asv.__file__).parent / "www" / "index.html").read_text(encoding="utf-8")
    asked = re.findall(r'<(?:script|link)\b[^>]*(?:src|href)="(https?://[^"]+)"', page)
    assert set(asked) == set(website.ASSETS)


def test_nothing_to_publish(config, tmp_path):
    bare = tmp_path / "bench" / "asv.conf.json"
    bare.parent.mkdir()
    shutil.copy(config, bare)
    with pytest.raises(website.Refused, match="no results in"):
        website.publish(bare)
    shutil.copytree(config.parent / "results", bare.parent / "results")
    with pytest.raises(website.Refused, match="no local branch 'main'"):
        website.publish(bare)
    with pytest.raises(website.Refused, match="holds no published site"):
        website_check.check(tmp_path)


def test_a_bad_download_is_not_kept(monkeypatch, tmp_path):
    package, cache = website.Package("x", "1.0.0", sha("sha512", b"whole")), tmp_path / "cache"

    def fetched(content):
        def fetch(_, folder):
            (folder / package.archive).write_bytes(content)

        monkeypatch.setattr(website, "_fetch", fetch)
        return website._archive(package, cache).read_bytes()

    with pytest.raises(website.Refused, match=r"x-1\.0\.0\.tgz has the hash"):
        fetched(b"who")
    assert fetched(b"whole") == b"whole"
    assert [path.name for path in tmp_path.rglob("*")] == ["cache", package.archive]


def test_no_npm(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(website.Refused, match=r"npm, which fetches x@1\.0\.0, is not installed"):
        website._archive(website.Package("x", "1.0.0", ""), tmp_path / "cache")


# --- in a browser ---


@pytest.fixture(scope="module")
def site(config):
    """The published site; skipped where its scripts cannot be fetched or no browser is there."""
    pytest.importorskip("selenium", reason="selenium comes with the extra site")
    try:
        website_check.chromium()
    except website.Refused as refused:
        pytest.skip(str(refused))
    cached = website.HERE / ".asv" / "assets"
    if cached.exists():
        shutil.copytree(cached, config.parent / ".asv" / "assets")
    try:
        return website.publish(config)
    except website.Refused as refused:
        if "npm" not in str(refused):
            raise
        pytest.skip(str(refused))


def test_the_site_shows_every_benchmark(site, tmp_path):
    problems, looked_at = website_check.check(site, tmp_path)
    assert problems == []
    assert "track_not_recorded" not in (site / "index.json").read_text()
    # n = 8, 16; two networks of one kind; each page as it opens. What failed is not looked for.
    assert looked_at == "3 tabs, 3 benchmarks, 7 views"
    assert len(list(tmp_path.glob("*.png"))) == 6


def test_what_is_wrong_with_a_site_is_found(site, tmp_path, monkeypatch):
    monkeypatch.setattr(website_check, "_SECONDS", 0.5)
    broken = tmp_path / "site"
    shutil.copytree(site, broken)
    for lost in broken.glob("graphs/**/some.SquareBesideNumPy*.json"):
        if "summary" not in lost.parts:
            lost.unlink()
    page = broken / "index.html"
    page.write_text(
        page.read_text().replace(
            "</body>",
            "<img src='http://far.example/a.png'><img src='gone.png'>"
            "<script>setTimeout(() => { thisIsNowhere(); }, 0)</script></body>",
        )
    )
    problems = "\n".join(website_check.check(broken)[0])
    assert "some.SquareBesideNumPy.track_time_over_numpy: has no result" in problems
    assert "asks another host: http://far.example/a.png" in problems
    assert re.search(r"grid: http://127\.0\.0\.1:\d+/gone\.png: status 404", problems)
    assert "thisIsNowhere is not defined" in problems

    # Points that flot has but nobody sees.
    style = "CanvasRenderingContext2D.prototype.stroke = () => {};"
    (broken / "asv.js").write_text(f"{style}\n{(broken / 'asv.js').read_text()}")
    # A benchmark's points that do not come.
    (broken / "graphdisplay.js").write_text(
        (broken / "graphdisplay.js").read_text().replace("count += 1;", "series.length = 1;")
    )
    problems = "\n".join(website_check.check(broken)[0])
    assert "some.track_plain: leaves the canvas without a line" in problems
    assert "(network 'a & b', kind of 'one'): draws 1 points, expected 2" in problems

    (broken / "assets/jquery/dist/jquery.min.js").unlink()
    problems = "\n".join(website_check.check(broken)[0])
    assert "grid: does not show up" in problems
    assert "jquery.min.js: status 404" in problems
    assert "some.track_plain: the page does not work" in problems


# --- the history ---


def test_the_history(config, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    found = history.read(config)
    assert [commit.speeds["Square"] for commit in found.commits] == [
        {("8",): pytest.approx(1), ("16",): pytest.approx(2)},
        {("8",): pytest.approx(2), ("16",): pytest.approx(4)},
    ]
    assert found.commits[1].speeds["FitSteps"] == {
        ("small: 4-2, batch 8", "one"): 4,
        ("a & b", "one"): 4,
    }
    lines = [line for curves in history.PANELS.values() for line in history.lines_of(found, curves)]
    assert lines == [
        ("small", [2, 4]),
        ("a & b", [2, 4]),
        ("matmul of squares", [pytest.approx(2**0.5), pytest.approx(8**0.5)]),
    ]

    benchmarks = tmp_path / "benchmarks.md"
    benchmarks.write_text("# Beside\n\nwords\n\n![picture](benchmarks.png)\n\n## A step\n")
    command = ["history.py", "--config", str(config), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.syspath_prepend(str(ROOT))
    for _ in range(2):  # the link is set once
        assert history.main() == 0
    assert benchmarks.read_text().splitlines()[2:7:2] == [
        "words",
        history.report.HISTORY,
        "![picture](benchmarks.png)",
    ]
    page = (tmp_path / "history.md").read_text()
    assert "| n | 8 | 16 |\n| --- | ---: | ---: |\n| speed | ×2.0 | ×4.0 |" in page
    assert "| recorded commits | 2 |" in page
    assert "(benchmarks.md)" in page
    assert "| machine | here |" in page
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.setattr(sys, "argv", [*command, "--machine", "there"])
    capsys.readouterr()
    assert history.main() == 1
    assert "has no ratios to NumPy of the machine 'there'" in capsys.readouterr().err


def test_the_history_is_that_of_the_machine_with_the_latest_commit(config, tmp_path):
    pytest.importorskip("matplotlib")
    shutil.copytree(config.parent.parent, tmp_path / "repo")
    results = tmp_path / "repo" / "bench" / "results"
    shutil.copytree(results / "here", results / "away")
    first, second = (commit.short for commit in history.read(config).commits)
    for folder, commit in (("away", first), ("here", second)):
        (recorded,) = (results / folder).glob(f"{commit[:8]}*.json")
        recorded.unlink()
    for recorded in (results / "away").glob("*.json"):
        recorded.write_text(recorded.read_text().replace('"machine": "here"', '"machine": "away"'))
    found = history.read(tmp_path / "repo" / "bench" / config.name)
    assert found.machine["machine"] == "away"
    assert [commit.short for commit in found.commits] == [second]
