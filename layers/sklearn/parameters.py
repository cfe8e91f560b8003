"""What the estimators accept, checked in one place as `fit` begins."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import layers
from kernels.runtime import checks
from layers.settings import flag

ACTIVATIONS = {
    "identity": None,
    "logistic": layers.Sigmoid,
    "tanh": layers.Tanh,
    "relu": layers.ReLU,
    "leaky_relu": layers.LeakyReLU,
    "elu": layers.ELU,
    "selu": layers.SELU,
    "gelu": layers.GELU,
    "silu": layers.SiLU,
    "softplus": layers.Softplus,
}
_FLAGS = (
    *("shuffle", "warm_start", "nesterovs_momentum", "early_stopping", "batch_norm", "progress"),
)
_NUMBERS = {
    "alpha": "at least 0",
    "tol": "at least 0",
    "power_t": "at least 0",
    "learning_rate_init": "above 0",
    "epsilon": "above 0",
    "momentum": "from 0 to 1",
    "beta_1": "from 0 to below 1",
    "beta_2": "from 0 to below 1",
    "dropout": "from 0 to below 1",
    "validation_fraction": "from 0 to below 1",
    "quantile": "above 0, below 1",
}
_HOLDS = {
    "at least 0": lambda number: number >= 0,
    "above 0": lambda number: number > 0,
    "from 0 to 1": lambda number: 0 <= number <= 1,
    "from 0 to below 1": lambda number: 0 <= number < 1,
    "above 0, below 1": lambda number: 0 < number < 1,
}


def check(place: str, given: Mapping[str, Any]) -> None:
    """Refuse parameters of an estimator, by name.

    Parameters
    ----------
    place : str
        The estimator, for errors.
    given : dict
        All its parameters.
    """
    if isinstance(given["solver"], str) and given["solver"] == "lbfgs":
        raise ValueError(
            f"{place}: solver is 'lbfgs', expected 'adam' or 'sgd': the kernels train on "
            "batches, and L-BFGS needs all rows at once (sklearn.neural_network has it)"
        )
    choice(place, "solver", given["solver"], ("adam", "sgd"))
    choice(place, "activation", given["activation"], ACTIVATIONS)
    choice(place, "learning_rate", given["learning_rate"], ("constant", "invscaling", "adaptive"))
    for name in _FLAGS:
        flag(place, name, given[name])
    for name, expected in _NUMBERS.items():
        if name in given:
            _number(place, name, given[name], expected)
    if given["early_stopping"] and not given["validation_fraction"] > 0:
        raise ValueError(
            f"{place}: validation_fraction is {given['validation_fraction']!r} and early_stopping "
            "True, expected a number above 0"
        )
    if not isinstance(given["verbose"], (bool, np.bool_)):
        checks.integer(place, "verbose", given["verbose"], 0)
    for name in ("max_iter", "max_fun"):
        checks.integer(place, name, given[name], 1)
    if given["n_iter_no_change"] != math.inf:
        checks.integer(place, "n_iter_no_change", given["n_iter_no_change"], 1)
    if not (isinstance(given["batch_size"], str) and given["batch_size"] == "auto"):
        checks.integer(place, "batch_size", given["batch_size"], 1)
    checks.real_dtype(place, given["dtype"])
    _hidden(place, given["hidden_layer_sizes"])
    _class_weight(place, given.get("class_weight"))


def choice(place: str, name: str, value: Any, choices: Any) -> None:
    """Refuse what is not among the names."""
    if not isinstance(value, str) or value not in choices:
        expected = ", ".join(map(repr, choices))
        raise ValueError(f"{place}: {name} is {checks.shown(value)}, expected one of {expected}")


def widths(hidden: Any) -> list[int]:
    """The widths of the hidden layers, of one number or several."""
    return [int(each) for each in np.ravel(hidden).tolist()]


def _number(place: str, name: str, value: Any, expected: str) -> None:
    wanted = f"a number {expected}"
    if not _HOLDS[expected](checks.number(place, name, value, expected=wanted)):
        raise ValueError(f"{place}: {name} is {checks.shown(value)}, expected {wanted}")


def _hidden(place: str, hidden: Any) -> None:
    each = hidden if isinstance(hidden, (list, tuple, np.ndarray)) else [hidden]
    for width in np.ravel(np.asarray(each, dtype=object)).tolist():
        is_integer = isinstance(width, (int, np.integer)) and not isinstance(width, bool)
        if not is_integer or width < 1:
            raise ValueError(
                f"{place}: hidden_layer_sizes is {checks.shown(hidden)}, expected an integer of at "
                "least 1 or a tuple of such: each has to be > 0"
            )


def _class_weight(place: str, given: Any) -> None:
    if given is None or isinstance(given, (Mapping, list)):
        return  # a list: a dict for each of several outputs, which scikit-learn checks by the rows
    if not isinstance(given, str) or given != "balanced":
        raise ValueError(
            f"{place}: class_weight is {checks.shown(given)}, expected a dict from a class to its "
            "weight, 'balanced' or None"
        )
