"""Add commits to the history: run the recorded benchmarks on each, and store the results.

    python asv_benchmarks/record.py --machine NAME HEAD HEAD~20
    python asv_benchmarks/record.py --machine NAME main~10..main
    python asv_benchmarks/record.py --machine NAME --limit 5 main~99..main    the latest 5 there
    python asv_benchmarks/record.py --machine NAME --whole v0.1.0    and every other benchmark

asv installs each commit into its environment and runs the current benchmarks on it. Commits with
results on this machine are skipped. A benchmark that a commit cannot run has no result; that is no
failure.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "asv.conf.json"
RESULTS = HERE / "results"
ENVIRONMENT = "virtualenv"  # not those of --python=same

RECORDED = (
    r"kernels_(dense|matmul)\..*BesideNumPy",  # ratios are robust against noise
    r"layers_training\.\w*Step",
    r"growth\.(OfTrainStep|OfKernel)",
    r"startup\.Warm",
    r"startup\.Cold.*first step",
)
"""The benchmarks of the history, about two minutes: regular expressions for names with parameters,
as asv prints them."""

_SOME_FAILED = 2
"""asv's exit code where a benchmark failed, as in commits that lack its subject."""


def missing(commits: list[str], machine: str) -> list[str]:
    """Commits without results on a machine."""
    files = (RESULTS / machine).glob(f"*-{ENVIRONMENT}-*.json")
    have = {path.name.partition("-")[0] for path in files}
    return [commit for commit in commits if not any(commit.startswith(known) for known in have)]


def commits_of(revisions: list[str]) -> list[str]:
    """Hashes of revisions and ranges, newest first: asv discovers benchmarks on the first."""
    walk = any(".." in revision for revision in revisions)
    listed = _git("rev-list", "--date-order", *([] if walk else ["--no-walk"]), *revisions, "--")
    return listed.split()


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=HERE, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _asv_run(commits: list[str], machine: str, whole: bool) -> int:
    """Run asv, with the commits on its standard input."""
    command = [sys.executable, "-m", "asv", "run", "--config", str(CONFIG), "--machine", machine]
    if not whole:
        command += ["--bench", "|".join(RECORDED), "--attribute", "rounds=1"]
    command.append("HASHFILE:-")
    return subprocess.run(command, input="\n".join(commits), text=True, check=False).returncode


def main() -> None:
    """Record what is missing; exit code 1 where a commit is still without results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commits", nargs="+", help="revisions or ranges, as git names them")
    parser.add_argument("--machine", required=True, help="as machine.py wrote it down")
    parser.add_argument("--limit", type=int, metavar="N", help="the latest N without results")
    parser.add_argument("--whole", action="store_true", help="every benchmark: about 18 minutes")
    options = parser.parse_args()
    if options.limit is not None and options.limit < 1:
        parser.error(f"--limit is {options.limit}, expected at least 1")
    commits = missing(commits_of(options.commits), options.machine)[: options.limit]
    if not commits:
        print("All of them are recorded")
        return
    code = _asv_run(commits, options.machine, options.whole)
    left = missing(commits, options.machine)
    if left:
        sys.exit(f"asv left with {code}, and without results are: {' '.join(left)}")
    if code == _SOME_FAILED:
        print("Some benchmarks have no result on some commits; the others are recorded")
    elif code:
        sys.exit(code)


if __name__ == "__main__":
    main()
