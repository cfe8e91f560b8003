"""A process that answers each line of its input with a line."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence


class Answering:
    """A Python process, started in this one's environment with some settings of its own.

    Parameters
    ----------
    command : sequence of str
        What Python is given.
    settings : mapping
        Environment variables.
    name : str
        What errors call it.
    """

    def __init__(
        self, command: Sequence[str], settings: Mapping[str, str], name: str = "a process"
    ) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | settings,
        )

    def line(self, during: str = "") -> str:
        """The next line that it says.

        Raises
        ------
        RuntimeError
            It has ended; ``during`` says when.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} has ended{during}, see above")
        return line

    def ask(self, text: str = "", during: str = "") -> str:
        """Its answer to a line."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, as `line` says
            self._process.stdin.write(f"{text}\n")
            self._process.stdin.flush()
        return self.line(during)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):  # unsent input
            self._process.communicate()
