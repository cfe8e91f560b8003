"""Values that a kernel's arguments are drawn from."""

from collections.abc import Callable, Mapping

import numpy as np

from layers.base import Array


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Of the standard normal distribution."""
    return rng.standard_normal(shape)


def wide(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Of a normal distribution with deviation 5."""
    return 5 * rng.standard_normal(shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Above 0, of very different sizes."""
    return np.asarray(np.exp(wide(rng, shape)))


def below_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """0 at most."""
    return np.asarray(-abs(wide(rng, shape)))


def probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Rows above 0 that sum to 1."""
    sizes = positive(rng, shape)
    return np.asarray(sizes / sizes.sum(axis=-1, keepdims=True))


def shares(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """From 0 to 1, both among them."""
    return np.clip(rng.uniform(-0.5, 1.5, shape), 0, 1)


def whole(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Few distinct numbers, for ties in a row of scores and zeros for ReLU."""
    return rng.integers(-4, 5, shape)


def whole_wide(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Few distinct numbers, further apart, for logits."""
    return np.asarray(np.rint(wide(rng, shape)))


DRAWS: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "probabilities": probabilities,
    "losses": positive,
    "scores": whole,
    "states": positive,
    "log_probabilities": below_zero,
    "z": wide,
}


NUMBERS = {
    "key": np.uint64(0x0123456789ABCDEF),
    "stream": np.uint64(5),
    "low": -0.3,
    "high": 0.5,  # high - low is no power of two, so u * width rounds
    "learning_rate": 0.1,
    "slope": 0.1,
    "alpha": 0.7,
    "delta": 0.7,
    "label_smoothing": 0.1,
    "q": 0.3,
    "rate": 0.3,
    "beta1": 0.9,
    "beta2": 0.99,
    "epsilon": 1e-3,
    "ahead": 0.2,
    "momentum": 0.9,
    "decay": 0.01,
    "shrink": 0.03,
}
