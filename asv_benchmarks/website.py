"""The published results as a static site that needs no other host.

    python asv_benchmarks/website.py            asv publish, and the scripts of others beside it
    python asv_benchmarks/website.py --check    look at the site in a headless Chromium

asv's page loads jQuery, flot, Bootstrap and others from public hosts. Here they are downloaded once
from npm, in the versions of ASSETS, checked against the hashes there, and stored next to the page.

(The name is not `site.py`: this folder is on the path of verdict.py's processes, and Python imports
its own `site` at each start.)
"""

import argparse
import base64
import hashlib
import html
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from asv.config import Config
from asv.graph import Graph
from asv.results import iter_results_paths

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "asv.conf.json"


class Refused(Exception):
    """An error, in one line."""


class Package(NamedTuple):
    """A version on npm, and npm's hash of its archive."""

    name: str
    version: str
    sha512: str

    @property
    def archive(self) -> str:
        return f"{self.name}-{self.version}.tgz"


class Asset(NamedTuple):
    """A file of a package, and why it differs from the file that asv's page loads."""

    package: Package
    path: str
    instead: str | None = None

    @property
    def file(self) -> str:
        """Its path, relative to index.html."""
        return f"assets/{self.package.name}/{self.path}"


_JQUERY = Package(
    "jquery",
    "3.3.1",
    "Ubldcmxp5np52/ENotGxlLe6aGMvmF4R8S6tZjsP6Knsaxd/xp3Zrh50cG93lR6nPXyUFwzN3ZSOQI0wRJNdGg==",
)
_FLOT = Package(
    "flot",
    "0.8.3",
    "xg2otcTJDvS+ERK+my4wxG/ASq90QURXtoM4LhacCq0jQW2jbyjdttbRNqU2cPykrpMvJ6b2uSp6SAgYAzj9tQ==",
)
_ORDER_BARS = Package(
    "flot-orderbars",
    "1.0.0",
    "Jv51fvzevUjNXEeozpwEKfPjhiZhfiJddv0WHjduUTCmSF+7T5K7C9c9Y1wIVmUhDBv5fLMjgbwKecT0GIKPZA==",
)
_STUPID_TABLE = Package(
    "stupid-table-plugin",
    "1.1.3",
    "2Vk7XouQPxUQPRe9w0Fu7ZZ8kHLK7rDoLMsCgtKxRNJ7f4dSOGvW9CkHsq5wD6QsaEnWoyLBYH3xOEsrK3yWBg==",
)
_MD5 = Package(
    "blueimp-md5",
    "2.19.0",
    "DRQrD6gJyy8FbiE4s+bDoXS9hiW3Vbx5uCdwvcCf3zLHL+Iv7LtGHLpr+GZV8rHG8tK766FGYBwRbu8pELTt+w==",
)
_BOOTSTRAP = Package(
    "bootstrap",
    "3.1.1",
    "TAzqS8E/ISpVHP29gYhy+1NSV+FJwApDVQhDfgLYsIuUDJiqJzH2DfORN5tiu+Ie2iBLrzEG34t4Rf465cigqg==",
)
_READABLE = "npm has this version as its authors wrote it, not shortened"

ASSETS = {
    "https://code.jquery.com/jquery-3.3.1.min.js": Asset(_JQUERY, "dist/jquery.min.js"),
    **{
        f"https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/{name}.min.js": Asset(
            _FLOT, f"{name}.js", instead=_READABLE
        )
        for name in (
            "jquery.flot",
            "jquery.flot.time",
            "jquery.flot.selection",
            "jquery.flot.categories",
        )
    },
    "https://cdn.jsdelivr.net/npm/flot-orderbars@1.0.0/js/jquery.flot.orderBars.js": Asset(
        _ORDER_BARS, "js/jquery.flot.orderBars.js"
    ),
    "https://cdnjs.cloudflare.com/ajax/libs/stupidtable/1.0.1/stupidtable.min.js": Asset(
        _STUPID_TABLE, "stupidtable.min.js", instead="npm has no version but 1.1.3"
    ),
    "https://cdnjs.cloudflare.com/ajax/libs/blueimp-md5/2.19.0/js/md5.min.js": Asset(
        _MD5, "js/md5.min.js"
    ),
    "https://cdn.jsdelivr.net/npm/bootstrap@3.1.1/dist/js/bootstrap.min.js": Asset(
        _BOOTSTRAP, "dist/js/bootstrap.min.js"
    ),
    "https://cdn.jsdelivr.net/npm/bootstrap@3.1.1/dist/css/bootstrap.min.css": Asset(
        _BOOTSTRAP, "dist/css/bootstrap.min.css"
    ),
}
"""The files that asv 0.6.6's index.html loads from other hosts, and those we serve: the same by the
hash in index.html, unless `instead` says why not."""


# --- publishing ---


def publish(config: Path = CONFIG) -> Path:
    """Make the site.

    Parameters
    ----------
    config : Path
        asv's configuration.

    Returns
    -------
    Path
        The folder of the site.
    """
    settings = Config.load(str(config))
    root = config.resolve().parent
    results, site = root / settings.results_dir, root / settings.html_dir
    if next(iter_results_paths(str(results)), None) is None:
        raise Refused(f"no results in {results}: asv run makes them")
    if "://" not in settings.repo:
        for branch in settings.branches:
            _expect_branch(root / settings.repo, branch)
    finished = subprocess.run(
        [sys.executable, "-m", "asv", "publish", "--no-pull", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if finished.returncode:
        raise Refused(f"asv publish failed: {_last_line(finished.stdout)}")
    show_lines_alone(site)
    # Not in the folder of the site, which asv deletes each time.
    localise(site, site.parent / "assets")
    expect_no_other_host(site)
    return site


def show_lines_alone(site: Path) -> None:
    """List only benchmarks with a line: record.py runs a part of them."""
    path = site / "index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    states = index["graph_param_list"]
    index["benchmarks"] = {
        name: benchmark
        for name, benchmark in index["benchmarks"].items()
        if any(_is_a_line(_graph(site, state, name)) for state in states)
    }
    path.write_text(json.dumps(index), encoding="utf-8")
    _fill_gaps(site, states, index["benchmarks"])
    for summary in (site / "graphs").glob("**/summary.json"):
        rows = json.loads(summary.read_text(encoding="utf-8"))
        kept = [row for row in rows if row["name"] in index["benchmarks"]]
        summary.write_text(json.dumps(kept), encoding="utf-8")


def _fill_gaps(site: Path, states: list[dict[str, Any]], names: Iterable[str]) -> None:
    """Add empty graphs: the page loads each benchmark on every machine."""
    for state, name in itertools.product(states, names):
        graph = _graph(site, state, name)
        if not graph.exists():
            graph.write_text("[]", encoding="utf-8")


def _graph(site: Path, state: dict[str, Any], name: str) -> Path:
    """The path of asv's graph of a benchmark on a machine."""
    return site / (Graph.get_file_path(state, name) + ".json")


def _is_a_line(graph: Path) -> bool:
    """Whether a graph has results of two commits; one would give an empty picture."""
    if not graph.exists():
        return False
    values = [value for _, value in json.loads(graph.read_text(encoding="utf-8"))]
    cases = (value if isinstance(value, list) else [value] for value in values)
    return sum(any(one is not None for one in case) for case in cases) > 1


def _expect_branch(repository: Path, branch: str) -> None:
    known = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"],
        capture_output=True,
    )
    if known.returncode:
        raise Refused(
            f"{repository.resolve()} has no local branch {branch!r}, whose commits asv shows: "
            f"git fetch origin {branch}:{branch}"
        )


def localise(site: Path, cache: Path) -> None:
    """Store third-party scripts and styles next to the page, and make the page load those."""
    page = site / "index.html"
    text = page.read_text(encoding="utf-8")
    for address, asset in ASSETS.items():
        found = re.search(rf'<(?:script|link)\b[^>]*"{re.escape(address)}"[^>]*>', text)
        if found is None:
            raise Refused(f"{page} does not ask for {address}: ASSETS is for another asv")
        content = _member(asset, cache)
        promised = re.search(r'integrity="([^"]*)"', found[0])
        if asset.instead is None:
            if promised is None:
                raise Refused(f"{page} has no hash for {address}")
            expect_integrity(asset.file, content, promised[1])
        target = site / asset.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        text = text.replace(found[0], _local(found[0], address, asset.file))
    page.write_text(text, encoding="utf-8")


def _local(tag: str, address: str, file: str) -> str:
    tag = tag.replace(address, file)
    return re.sub(r' (integrity|crossorigin|referrerpolicy)="[^"]*"', "", tag)


def _member(asset: Asset, cache: Path) -> bytes:
    with tarfile.open(_archive(asset.package, cache)) as archive:
        try:
            file = archive.extractfile(f"package/{asset.path}")
        except KeyError:
            file = None
        if file is None:
            raise Refused(f"{asset.package.archive} holds no {asset.path}")
        return file.read()


def _archive(package: Package, cache: Path) -> Path:
    """The package's archive, downloaded if missing, and checked."""
    path = cache / package.archive
    if path.exists():
        _expect_promised(package, path)
        return path
    cache.mkdir(parents=True, exist_ok=True)
    # Aside: the download may be cut short, and another process may look for the same archive.
    with tempfile.TemporaryDirectory(dir=cache.parent) as aside:
        fetched = Path(aside) / package.archive
        _fetch(package, fetched.parent)
        _expect_promised(package, fetched)
        os.replace(fetched, path)
    return path


def _expect_promised(package: Package, path: Path) -> None:
    expect_integrity(str(path), path.read_bytes(), f"sha512-{package.sha512}")


def _fetch(package: Package, folder: Path) -> None:
    wanted = f"{package.name}@{package.version}"
    npm = shutil.which("npm")
    if npm is None:
        raise Refused(f"npm, which fetches {wanted}, is not installed")
    options = ["--fetch-retries=1", "--fetch-timeout=30000", "--no-update-notifier"]
    finished = subprocess.run(
        [npm, "pack", wanted, "--pack-destination", str(folder), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        said = re.search(r"^npm \S+ (?:.*reason: |notarget |404 )(.+)", finished.stderr, re.M)
        reason = said[1] if said else _last_line(finished.stderr)
        raise Refused(f"npm cannot fetch {wanted} (is there a network?): {reason}")


def expect_integrity(name: str, content: bytes, integrity: str) -> None:
    """Refuse a file with another hash; `integrity` is written as in HTML: sha512-<base64>."""
    algorithm, _, expected = integrity.partition("-")
    digest = hashlib.new(algorithm, content).digest()
    found = base64.b64encode(digest).decode()
    if found != expected:
        raise Refused(f"{name} has the hash {algorithm}-{found}, expected {integrity}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


# --- other hosts ---

_HOST = r"(?:https?:)?//[^\s\"'()<>]+"
_LOADS = {
    ".html": [
        rf"<(?:script|img|iframe|source|embed)\b[^>]*?\bsrc\s*=\s*[\"']?({_HOST})",
        rf"<link\b[^>]*?\bhref\s*=\s*[\"']?({_HOST})",
    ],
    ".css": [rf"url\(\s*[\"']?({_HOST})", rf"@import\s+[\"']({_HOST})"],
    ".js": [
        rf"(?:\bsrc|\bhref)\s*=\s*[\"']({_HOST})",
        rf"(?:import|importScripts|getScript|getJSON|fetch)\s*\(\s*[\"']({_HOST})",
        rf"\burl\s*:\s*[\"']({_HOST})",
        rf"\bfrom\s*[\"']({_HOST})",
    ],
}
_LOADS[".html"] += _LOADS[".css"] + _LOADS[".js"]
"""By file kind: patterns by which the browser loads from an address; links for readers do not
count."""


def expect_no_other_host(site: Path) -> None:
    """Refuse a site that loads a script, a style or a picture from another host."""
    for path in sorted(site.rglob("*")):
        for pattern in _LOADS.get(path.suffix, ()):
            text = path.read_text(encoding="utf-8", errors="replace")
            if path.suffix == ".html":
                text = re.sub(r"<a\b[^>]*>", "", html.unescape(text))
            found = re.search(pattern, text, re.IGNORECASE)
            if found:
                raise Refused(f"{path} takes {found[1]} from another host")


# --- the command ---


def main() -> int:
    """Run the command line: publish or check."""
    parser = argparse.ArgumentParser(description="The results as a site that needs no other host.")
    parser.add_argument(
        "--check", action="store_true", help="open the published site in a headless Chromium"
    )
    parser.add_argument("--config", type=Path, default=CONFIG, help="asv's configuration")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="with --check: screenshots")
    arguments = parser.parse_args()
    try:
        if not arguments.check:
            print(publish(arguments.config) / "index.html")
            return 0
        from website_check import check

        site = arguments.config.resolve().parent / Config.load(str(arguments.config)).html_dir
        problems, looked_at = check(site, arguments.pictures)
    except Refused as refused:
        print(f"website: {refused}", file=sys.stderr)
        return 1
    print("\n".join([*problems, f"{looked_at}: {len(problems) or 'no'} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    # website_check imports Refused from here; it must be the same class.
    sys.modules["website"] = sys.modules["__main__"]
    sys.exit(main())
