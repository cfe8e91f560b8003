"""Check the published site in a browser; `python asv_benchmarks/website.py --check`.

Chromium and its driver are the system's (on Debian: chromium, chromium-driver); selenium comes with
`pip install -e '.[site]'`. The expected contents come from the site's data files, the actual ones
from the page: the points that flot has, and the canvas.
"""

import contextlib
import functools
import itertools
import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from asv.graph import Graph
from website import Refused

_SECONDS = 5.0
"""Timeout of a page."""

_DRAWN = """
const [views, patience, done] = arguments;
const later = (f) => setTimeout(f, 10);
function lines() {
    const plot = $('#main-graph').data('plot');
    if (!plot) return null;
    return plot.getData().map(line => ({
        colour: line.color,
        points: line.data.filter(p => p && p[1] !== null && p[1] !== undefined)
    })).filter(line => line.points.length);
}
function painted(colour) {
    const canvas = $('#main-graph canvas.flot-base')[0];
    const probe = document.createElement('canvas').getContext('2d');
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 0; i < all.length; i += 4)
        if (all[i + 3] > 100 && Math.abs(all[i] - r) < 24 && Math.abs(all[i + 1] - g) < 24
            && Math.abs(all[i + 2] - b) < 24) return true;
    return false;
}
function problem(view) {
    if ($('#error').is(':visible')) return 'says: ' + $('#error-message').text().trim();
    const seen = lines();
    if (seen === null) return 'draws nothing';
    const count = seen.reduce((sum, line) => sum + line.points.length, 0);
    if (view.points !== null && count !== view.points)
        return `draws ${count} points, expected ${view.points}`;
    if (!count) return 'draws no point';
    // One line may cover another.
    return seen.some(line => painted(line.colour)) ? null : 'leaves the canvas without a line';
}
const found = [];
function next(number) {
    if (number === views.length) return done(found);
    const view = views[number], began = performance.now();
    $('#main-graph').removeData('plot').empty();
    location.hash = view.hash;
    (function look() {
        const wrong = problem(view);
        if (wrong === null) return next(number + 1);
        if (performance.now() - began < patience) return later(look);
        found.push([view.name, wrong]);
        $('#error').removeClass('fade').modal('hide');
        $('.modal-backdrop').remove();
        next(number + 1);
    })();
}
next(0);
"""
"""Opens the views of one benchmark; returns (view, problem) for the wrong ones."""

_TABS = {
    "grid": (
        "#/",
        """const plots = $('#summarygrid-display:visible .benchmark-container');
        return plots.length === Object.keys($.asv.main_json.benchmarks).length
            && plots.find('canvas').length > 0""",
    ),
    "list": ("#/summarylist", "return $('#summarylist-body table:visible tbody tr').length > 0"),
    "regressions": (
        "#/regressions",
        "return $('#regressions-display:visible .regression-div').length > 0",
    ),
}


class View(NamedTuple):
    """A benchmark's page with chosen parameters, and the number of points it should draw."""

    name: str
    hash: str
    points: int | None


def check(site: Path, pictures: Path | None = None) -> tuple[list[str], str]:
    """Open every page.

    Parameters
    ----------
    site : Path
        The folder that `website.publish` made.
    pictures : Path, optional
        A folder for screenshots of the three tabs and of each benchmark.

    Returns
    -------
    problems : list of str
        One line each.
    looked_at : str
        What was checked, in words.
    """
    if not (site / "index.json").exists():
        raise Refused(f"{site} holds no published site: python asv_benchmarks/website.py")
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    benchmarks = views_of(site)
    problems = [f"{name}: has no result" for name, views in benchmarks.items() if not views]
    with _served(site) as address, _browser() as browser:
        looker = _Looker(browser, address, pictures)
        for name, (tab, condition) in _TABS.items():
            problems += looker.tab(name, tab, condition)
        for name, views in benchmarks.items():
            if views:
                problems += looker.benchmark(name, views)
    count = sum(map(len, benchmarks.values()))
    return problems, f"{len(_TABS)} tabs, {len(benchmarks)} benchmarks, {count} views"


# --- what there is to see ---


def views_of(site: Path) -> dict[str, list[View]]:
    """By benchmark: each combination of parameters with results, then the default page."""
    index = json.loads((site / "index.json").read_text(encoding="utf-8"))
    return {
        name: list(_views(site, index, name, benchmark))
        for name, benchmark in index["benchmarks"].items()
    }


def _views(site: Path, index: dict[str, Any], name: str, benchmark: Any) -> Iterator[View]:
    combinations = list(itertools.product(*benchmark["params"]))
    points = [0] * len(combinations)
    for state in index["graph_param_list"]:
        if state["branch"] != index["params"]["branch"][0]:
            continue  # the page opens with the first
        path = site / (Graph.get_file_path(state, name) + ".json")
        for _, value in json.loads(path.read_text(encoding="utf-8")) if path.exists() else ():
            values = value if isinstance(value, list) else [value] * len(combinations)
            points = [n + (one is not None) for n, one in zip(points, values, strict=True)]
    if not any(points):
        return
    for combination, count in zip(combinations, points, strict=True):
        if combination and count:
            chosen = dict(zip(benchmark["param_names"], combination, strict=True))
            query = "&".join(
                f"p-{quote(key, safe='')}={quote(value, safe='')}" for key, value in chosen.items()
            )
            shown = ", ".join(f"{key} {value}" for key, value in chosen.items())
            yield View(f"{name} ({shown})", f"#{quote(name, safe='')}?{query}", count)
    yield View(name, f"#{quote(name, safe='')}", None)


# --- looking ---


class _Looker:
    """A browser at the site."""

    def __init__(self, browser: Any, address: str, pictures: Path | None) -> None:
        self._browser, self._address, self._pictures = browser, address, pictures
        self._reported: set[str] = set()

    def tab(self, name: str, where: str, condition: str) -> list[str]:
        """Reload and open a tab."""
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        self._browser.get("about:blank")
        self._browser.get(self._address + where)
        problems = []
        try:
            WebDriverWait(self._browser, _SECONDS, 0.05, [WebDriverException]).until(
                lambda browser: browser.execute_script(condition)
            )
        except WebDriverException:  # a timeout counts as a problem
            problems.append(f"{name}: does not show up within {_SECONDS:g} s")
        self._picture(name)
        return problems + self._noticed(name)

    def benchmark(self, name: str, views: list[View]) -> list[str]:
        """Open the views of a benchmark."""
        from selenium.common.exceptions import WebDriverException

        self._browser.set_script_timeout(len(views) * _SECONDS + 30)
        try:
            found = self._browser.execute_async_script(
                _DRAWN, [view._asdict() for view in views], 1000 * _SECONDS
            )
        except WebDriverException as error:
            message = (error.msg or type(error).__name__).splitlines()[0]
            found = [(name, f"the page does not work: {message}")]
        self._picture(name)
        return [f"{view}: {wrong}" for view, wrong in found] + self._noticed(name)

    def _noticed(self, where: str) -> list[str]:
        """New messages of the console and the network, each once."""
        said = [
            f"{where}: console: {entry['message']}"
            for entry in self._browser.get_log("browser")
            if entry["level"] == "SEVERE"
        ]
        addresses: dict[str, str] = {}
        for entry in self._browser.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            details = event["params"]
            match event["method"]:
                case "Network.requestWillBeSent":
                    url = addresses[details["requestId"]] = details["request"]["url"]
                    parts = urlsplit(url)
                    if parts.scheme in ("http", "https", "ws", "wss") and not url.startswith(
                        self._address
                    ):
                        said.append(f"{where}: asks another host: {url}")
                case "Network.responseReceived" if details["response"]["status"] >= 400:
                    response = details["response"]
                    said.append(f"{where}: {response['url']}: status {response['status']}")
                case "Network.loadingFailed" if not details.get("canceled"):
                    url = addresses.get(details["requestId"], "a request")
                    said.append(f"{where}: {url}: {details['errorText']}")
        fresh = []
        for line in said:
            what = line.partition(": ")[2]
            if what not in self._reported:
                self._reported.add(what)
                fresh.append(line)
        return fresh

    def _picture(self, name: str) -> None:
        if self._pictures is not None:
            self._browser.save_screenshot(str(self._pictures / f"{name}.png"))


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine only."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def chromium() -> tuple[str, str]:
    """Paths of Chromium and its driver."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        raise Refused("no Chromium or no driver: apt-get install chromium chromium-driver")
    return browser, driver


@contextlib.contextmanager
def _browser() -> Iterator[Any]:
    try:
        from selenium import webdriver
        from selenium.common.exceptions import WebDriverException
    except ImportError:
        raise Refused("selenium is not installed: pip install -e '.[site]'") from None
    program, driver = chromium()
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for option in (
        "--headless=new",
        "--window-size=1400,1000",
        "--disable-dev-shm-usage",  # containers have little of it
        "--disable-background-networking",
        "--no-proxy-server",
        # Else Chromium ignores a change of the address after 200 within ten seconds.
        "--disable-ipc-flooding-protection",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(option)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to run as root with one
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    try:
        browser = webdriver.Chrome(options=options, service=service)
    except WebDriverException as error:
        raise Refused(f"Chromium does not start: {(error.msg or '').splitlines()[0]}") from None
    try:
        yield browser
    finally:
        browser.quit()
