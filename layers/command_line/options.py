"""Options that are wrong by themselves: said before the work, by their names."""

import argparse
import itertools
from collections.abc import Sequence

from kernels.runtime import checks
from layers.data.columns import nearest

_LEAST = {"hidden": 1, "epochs": 1, "patience": 1, "batch_size": 1, "seed": 0, "threads": 1}
_LEAST |= {"rounds": 1}
_FRACTIONS = ("test_fraction", "validation_fraction")


def check_numbers(arguments: argparse.Namespace) -> None:
    """Check the numbers among the options of a command.

    Raises
    ------
    ValueError
        One is out of its domain: the option is named, what it was, and what was expected.
    """
    given = vars(arguments)
    place = given["command"]
    for name, least in _LEAST.items():
        values = given.get(name)
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                checks.integer(place, _option(name), value, least)
    if (rate := given.get("learning_rate")) is not None:
        checks.number(place, "--learning-rate", rate, 0)
    for name in _FRACTIONS:
        if (fraction := given.get(name)) is not None and not 0 <= fraction < 1:
            raise ValueError(
                f"{place}: {_option(name)} is {fraction:g}, expected a number from 0 to below 1"
            )


def unknown(given: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """What to say of arguments that a parser did not take; and which option is much like one."""
    options = list(itertools.chain(*(action.option_strings for action in parser._actions)))
    wrong = next((text.partition("=")[0] for text in given if text.startswith("-")), None)
    hint = "" if wrong is None else nearest(wrong.replace("_", "-"), options)
    return f"unrecognized arguments: {' '.join(given)}{hint}"


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
