"""Softmax and cross-entropy: the order of each sum to the bit, special values, gradients."""

import math

import numpy as np
import pytest

import kernels
from kernels.losses import CROSS_ENTROPY, SMOOTHED_CROSS_ENTROPY, SOFTMAX_CROSS_ENTROPY
from kernels.operations import as_words, run_loss

pytestmark = pytest.mark.compiled

LANES = 16
CLASSES = (1, 2, 3, 10, 15, 16, 17, 31, 32, 33, 48, 100, 1000)

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
each_number_of_classes = pytest.mark.parametrize("n", CLASSES)


# The kernels, each into an array of NaN


def elementwise(name, x):
    out = np.full_like(x, np.nan)
    getattr(kernels, name)(x, out)
    return out


def softmax(z):
    return elementwise("softmax_forward", z)


def softmax_and_losses(z, labels):
    out, losses = np.full_like(z, np.nan), np.full((len(z), 1), np.nan, z.dtype)
    kernels.softmax_cross_entropy(z, labels, out, losses)
    return out, losses


def cross_entropy_rows(probabilities, labels):
    losses = np.full((len(probabilities), 1), np.nan, probabilities.dtype)
    kernels.cross_entropy_rows(probabilities, labels, losses)
    return losses


def of_targets(name, probabilities, labels):
    """One of the two gradients by target: `cross_entropy_backward`, `softmax_minus_target`."""
    out = np.full_like(probabilities, np.nan)
    getattr(kernels, name)(probabilities, labels, out)
    return out


# Inputs


def logits(dtype, batch, n, scale=4.0, seed=0):
    return (np.random.default_rng([seed, batch, n]).normal(size=(batch, n)) * scale).astype(dtype)


def class_indices(batch, n, seed=0):
    return np.random.default_rng([seed, batch, n]).integers(0, n, batch)


def one_hot(labels, n, dtype):
    return (labels[:, None] == np.arange(n)).astype(dtype)


def soft_targets(dtype, batch, n):
    """Rows that sum to 1, some of their elements 0."""
    t = np.random.default_rng([9, batch, n]).dirichlet(np.full(n, 0.5), batch)
    t[t < 0.01] = 0
    t[:, 0] += 1 - t.sum(axis=1)
    return t.astype(dtype)


# The oracle: 16 partial sums and one tree


def sum_along_rows(terms):
    """Element j goes to partial sum j mod 16; these are joined by halves: lane i and lane i + 8."""
    rows, n = terms.shape
    padded = np.zeros((rows, -(-n // LANES) * LANES), terms.dtype)
    padded[:, :n] = terms
    lanes = np.zeros((rows, LANES), terms.dtype)
    for start in range(0, n, LANES):
        lanes = lanes + padded[:, start : start + LANES]
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes


def softmax_by_the_rule(z):
    """Probabilities, and the logarithm of each row's sum."""
    e = elementwise("exp", z - z.max(axis=1, keepdims=True))
    total = sum_along_rows(e)
    return e / total, elementwise("log", total)


# Bits


@each_dtype
@each_number_of_classes
def test_softmax_sums_in_the_fixed_order(dtype, n):
    z = logits(dtype, 40, n)
    np.testing.assert_array_equal(softmax(z), softmax_by_the_rule(z)[0])


@each_dtype
@each_number_of_classes
def test_softmax_cross_entropy_sums_in_the_fixed_order(dtype, n):
    z = logits(dtype, 40, n)
    for labels in (class_indices(40, n), soft_targets(dtype, 40, n)):
        t = labels if labels.ndim == 2 else one_hot(labels, n, dtype)
        probabilities, log_total = softmax_by_the_rule(z)
        terms = t * (log_total - (z - z.max(axis=1, keepdims=True)))
        out, losses = softmax_and_losses(z, labels)
        np.testing.assert_array_equal(out, probabilities)
        np.testing.assert_array_equal(losses, sum_along_rows(terms))


@each_dtype
@each_number_of_classes
def test_cross_entropy_sums_in_the_fixed_order(dtype, n):
    p = softmax(logits(dtype, 40, n))
    for labels in (class_indices(40, n), soft_targets(dtype, 40, n)):
        t = labels if labels.ndim == 2 else one_hot(labels, n, dtype)
        terms = t * elementwise("log", p)
        np.testing.assert_array_equal(cross_entropy_rows(p, labels), -sum_along_rows(terms))


@each_dtype
@pytest.mark.parametrize("batch", [1, 2, 15, 16, 17, 100, 1000])
def test_mean_loss_sums_in_the_fixed_order_and_in_float64(dtype, batch):
    random = np.random.default_rng(batch)
    magnitudes = 2.0 ** random.integers(-40, 40, (batch, 1))
    losses = (random.uniform(0, 1, (batch, 1)) * magnitudes).astype(dtype)
    expected = sum_along_rows(losses.T.astype(np.float64))[0, 0] / batch
    assert kernels.mean_loss(losses) == expected
    probabilities, labels = softmax(logits(dtype, batch, 3)), class_indices(batch, 3)
    expected = kernels.mean_loss(cross_entropy_rows(probabilities, labels))
    assert kernels.cross_entropy(probabilities, labels) == expected


@each_dtype
@each_number_of_classes
def test_the_gradients_by_target(dtype, n):
    batch = 7
    p = softmax(logits(dtype, batch, n))
    for labels in (class_indices(batch, n), soft_targets(dtype, batch, n)):
        t = labels if labels.ndim == 2 else one_hot(labels, n, dtype)
        expected = (p - t) / dtype(batch)
        np.testing.assert_array_equal(of_targets("softmax_minus_target", p, labels), expected)
        expected = t / p / dtype(-batch)
        np.testing.assert_array_equal(of_targets("cross_entropy_backward", p, labels), expected)


@each_dtype
@each_number_of_classes
def test_one_hot_targets_and_class_indices_give_the_same_bits(dtype, n):
    z, labels = logits(dtype, 20, n), class_indices(20, n)
    t = one_hot(labels, n, dtype)
    by_index, by_row = softmax_and_losses(z, labels), softmax_and_losses(z, t)
    np.testing.assert_array_equal(by_index[0], by_row[0])
    np.testing.assert_array_equal(by_index[1], by_row[1])
    p = softmax(z)
    np.testing.assert_array_equal(cross_entropy_rows(p, labels), cross_entropy_rows(p, t))
    for name in ("softmax_minus_target", "cross_entropy_backward"):
        np.testing.assert_array_equal(of_targets(name, p, labels), of_targets(name, p, t))


@each_dtype
@each_number_of_classes
@pytest.mark.parametrize("batch", [1, 15, 16, 17, 40])
def test_a_loss_with_its_gradient_has_the_bits_of_its_parts(dtype, n, batch):
    """Of class indices, whether sixteen rows are taken at a time or each by itself, and of rows."""
    z, labels = logits(dtype, batch, n), class_indices(batch, n)
    z[0, 0], z[batch // 2, n // 2] = -np.inf, np.nan
    z[-1, -1] = z[-1].max()  # of equals the first is the largest
    p, losses = softmax_and_losses(z, labels)
    of_logits = of_targets("softmax_minus_target", p, labels), losses
    of_p = of_targets("cross_entropy_backward", p, labels), cross_entropy_rows(p, labels)
    forms = {"labels": labels, "rows": one_hot(labels, n, dtype)}
    if n <= LANES:
        forms |= {f"few {form}": targets for form, targets in forms.items()}
    for entry, scores, expected in (SOFTMAX_CROSS_ENTROPY, z, of_logits), (CROSS_ENTROPY, p, of_p):
        classes = np.full(batch, 99)
        kernels.argmax_rows(scores, classes)
        right = (classes == labels).astype(dtype)[:, None]
        for form in forms.keys() & entry.operations.keys():
            got = [np.full_like(array, 99) for array in (*expected, right)]
            operation, words = entry.operations[form], as_words(forms[form], dtype)
            run_loss(operation, scores, words, (), *got)
            for array, its in zip(got, (*expected, right), strict=True):
                np.testing.assert_array_equal(array, its, err_msg=str(operation))


@each_dtype
@each_number_of_classes
@pytest.mark.parametrize("batch", [1, 15, 16, 17, 40])
def test_a_smoothed_loss_has_the_same_bits_in_every_form(dtype, n, batch):
    z, labels = logits(dtype, batch, n), class_indices(batch, n)
    z[0, 0], z[batch // 2, n // 2] = -np.inf, np.nan
    forms = {"labels": labels, "rows": one_hot(labels, n, dtype)}
    if n <= LANES:
        forms |= {f"few {form}": targets for form, targets in forms.items()}
    assert forms.keys() <= SMOOTHED_CROSS_ENTROPY.operations.keys()
    for smoothing in (0.0, 0.1, 0.9):
        results = {}
        for form, targets in forms.items():
            results[form] = got = [np.full((batch, columns), 99, dtype) for columns in (n, 1, 1)]
            operation = SMOOTHED_CROSS_ENTROPY.operations[form]
            run_loss(operation, z, as_words(targets, dtype), (smoothing,), *got)
        for form, got in results.items():
            for array, its in zip(got, results["rows"], strict=True):
                np.testing.assert_array_equal(array, its, err_msg=f"{form}, {smoothing}")


@each_dtype
def test_a_row_has_the_same_bits_alone_and_in_any_batch(dtype):
    rows, n = 33, 21
    z, labels = logits(dtype, rows, n), class_indices(rows, n)
    out, losses = softmax_and_losses(z, labels)
    np.testing.assert_array_equal(softmax(z), out)
    for i in range(rows):
        np.testing.assert_array_equal(softmax(z[i : i + 1]), out[i : i + 1])
        alone = softmax_and_losses(z[i:], labels[i:])
        np.testing.assert_array_equal(alone[0], out[i:])
        np.testing.assert_array_equal(alone[1], losses[i:])


# Values


@each_dtype
@each_number_of_classes
def test_losses_against_float64(dtype, n):
    """Within the first-order bound of the roundings on the way, each u = half an ulp of 1."""
    u = float(np.finfo(dtype).eps) / 2
    z, labels = logits(dtype, 200, n, scale=8.0), class_indices(200, n)
    losses = softmax_and_losses(z, labels)[1][:, 0].astype(np.longdouble)

    shifted = z.astype(np.longdouble)
    shifted -= shifted.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    log_total = np.log(e.sum(axis=1))
    own = shifted[np.arange(200), labels]
    exact = log_total - own

    terms_in_a_row = -(-n // LANES) + 4  # of one partial sum, and the levels of the tree
    relative_error_of_total = (
        (e * abs(shifted)).sum(axis=1) / e.sum(axis=1)  # z - top was rounded, then exp taken
        + 2  # exp: below 1 ulp, which is at most 2 u
        + terms_in_a_row
    )
    bound = relative_error_of_total + 2 * log_total + abs(own) + exact
    assert (abs(losses - exact) <= 1.01 * u * bound).all()


@each_dtype
@each_number_of_classes
def test_probabilities_against_float64(dtype, n):
    u = float(np.finfo(dtype).eps) / 2
    z = logits(dtype, 50, n, scale=8.0)
    shifted = z.astype(np.longdouble)
    shifted -= shifted.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    exact = e / e.sum(axis=1, keepdims=True)
    p = softmax(z)
    # Twice what `test_losses_against_float64` counts: once above the line, once below it.
    bound = 2 * (abs(shifted).max(axis=1, keepdims=True) + 2 + -(-n // LANES) + 4) + 1
    assert (abs(p - exact) <= 1.01 * u * bound * exact).all()


@each_dtype
def test_a_shift_of_the_logits_does_not_show(dtype):
    z = np.round(logits(dtype, 10, 37) * 64) / 64  # so that adding 1024 rounds nothing
    out, losses = softmax_and_losses(z, class_indices(10, 37))
    for shift in (1024, -1024):
        shifted = softmax_and_losses(z + dtype(shift), class_indices(10, 37))
        np.testing.assert_array_equal(shifted[0], out)
        np.testing.assert_array_equal(shifted[1], losses)


@each_dtype
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_logits_have_a_finite_loss(dtype, size):
    z = np.array([[size, 0, -size], [size, size, -size], [-size, -size, -size]], dtype)
    out, losses = softmax_and_losses(z, np.array([1, 0, 2]))
    third = dtype(1) / dtype(3)
    np.testing.assert_array_equal(out, np.array([[1, 0, 0], [0.5, 0.5, 0], [third] * 3], dtype))
    expected = np.array([[size], [math.log(2)], [math.log(3)]], dtype)
    np.testing.assert_allclose(losses, expected, rtol=4 * np.finfo(dtype).eps)
    gradient = of_targets("softmax_minus_target", out, np.array([1, 0, 2]))
    np.testing.assert_array_equal(gradient[0], np.array([1, -1, 0], dtype) / dtype(3))


@each_dtype
def test_logits_of_minus_infinity_have_no_probability(dtype):
    z = np.array([[0, -np.inf, 0, -np.inf]], dtype)
    for labels, loss in ((np.array([2]), math.log(2)), (np.array([1]), math.inf)):
        out, losses = softmax_and_losses(z, labels)
        np.testing.assert_array_equal(out, np.array([[0.5, 0, 0.5, 0]], dtype))
        np.testing.assert_allclose(losses, [[loss]], rtol=2 * np.finfo(dtype).eps)
    targets = np.array([[0.25, 0, 0.75, 0]], dtype)
    np.testing.assert_allclose(
        softmax_and_losses(z, targets)[1], [[math.log(2)]], rtol=2 * np.finfo(dtype).eps
    )


@each_dtype
@pytest.mark.parametrize("n", [1, 10, 17, 40])
@pytest.mark.parametrize("kind", ["NaN", "infinity", "nothing but minus infinity"])
def test_nan_stays_in_its_row(dtype, n, kind):
    z, labels = logits(dtype, 9, n), class_indices(9, n)
    clean = (softmax(z), *softmax_and_losses(z, labels))
    for place in {0, n // 2, n - 1}:
        spoiled = z.copy()
        if kind == "nothing but minus infinity":
            spoiled[4] = -np.inf
        else:
            spoiled[4, place] = np.nan if kind == "NaN" else np.inf
        results = (softmax(spoiled), *softmax_and_losses(spoiled, labels))
        for result, expected in zip(results, clean, strict=True):
            # Infinity over infinity: the row's probabilities are no numbers either way.
            assert np.isnan(result[4]).any()
            assert kind == "infinity" or np.isnan(result[4]).all()
            others = [i for i in range(9) if i != 4]
            np.testing.assert_array_equal(result[others], expected[others])


@each_dtype
def test_nan_in_a_probability_or_a_gradient_stays_in_its_row(dtype):
    n = 20
    p, labels = softmax(logits(dtype, 5, n)), class_indices(5, n)
    dy = logits(dtype, 5, n, seed=1)
    clean = np.full_like(p, np.nan)
    kernels.softmax_backward(p, dy, clean)
    for spoil_p in (True, False):
        spoiled_p, spoiled_dy = p.copy(), dy.copy()
        (spoiled_p if spoil_p else spoiled_dy)[2, 17] = np.nan
        out = np.full_like(p, np.nan)
        kernels.softmax_backward(spoiled_p, spoiled_dy, out)
        assert np.isnan(out[2]).all()
        np.testing.assert_array_equal(np.delete(out, 2, axis=0), np.delete(clean, 2, axis=0))
    spoiled_p = p.copy()
    spoiled_p[2, labels[2]] = np.nan
    losses = cross_entropy_rows(spoiled_p, labels)
    np.testing.assert_array_equal(np.isnan(losses[:, 0]), np.arange(5) == 2)
    for name in ("softmax_minus_target", "cross_entropy_backward"):
        out, clean = of_targets(name, spoiled_p, labels), of_targets(name, p, labels)
        assert np.argwhere(np.isnan(out)).tolist() == [[2, labels[2]]]
        clean[2, labels[2]] = np.nan
        np.testing.assert_array_equal(out, clean)


@each_dtype
def test_where_the_target_is_zero_nothing_counts(dtype):
    p = np.array([[0, 0.5, np.nan, 0.5]], dtype)
    for labels in (np.array([1]), np.array([[0, 1, 0, 0]], dtype)):
        loss = cross_entropy_rows(p, labels)[0, 0]
        assert loss == -elementwise("log", dtype([0.5]))[0]
        gradient = of_targets("cross_entropy_backward", p, labels)
        np.testing.assert_array_equal(gradient, [[0, -2, 0, 0]])


@each_dtype
def test_a_certain_and_wrong_prediction_costs_minus_log_of_the_smallest_normal_number(dtype):
    tiny = np.finfo(dtype).tiny
    smallest = np.finfo(dtype).smallest_subnormal
    for p in (0.0, smallest, tiny / 2, tiny):
        row = np.array([[1, p]], dtype)
        np.testing.assert_allclose(
            cross_entropy_rows(row, np.array([1])), [[-math.log(tiny)]], rtol=np.finfo(dtype).eps
        )
        gradient = of_targets("cross_entropy_backward", row, np.array([1]))
        np.testing.assert_array_equal(gradient, [[0, dtype(-1) / tiny]])
    loss = kernels.cross_entropy(np.array([[1, 0]], np.float32), np.array([1]))
    assert round(loss, 1) == 87.3


# Gradients, by central differences in float64


def assert_gradient(loss, x, gradient, step=1e-5):
    numeric = np.empty_like(x)
    for place in np.ndindex(x.shape):
        values = []
        for sign in (1, -1):
            moved = x.copy()
            moved[place] += sign * step
            values.append(loss(moved))
        numeric[place] = (values[0] - values[1]) / (2 * step)
    assert np.linalg.norm(numeric) > 1e-3
    distance = np.linalg.norm(gradient - numeric)
    assert distance <= 1e-7 * (np.linalg.norm(gradient) + np.linalg.norm(numeric))


def both_labels(batch, n):
    return (class_indices(batch, n), soft_targets(np.float64, batch, n))


@pytest.mark.parametrize("n", [2, 5, 17, 40])
def test_the_gradient_of_softmax(n):
    z, weights = logits(np.float64, 3, n, scale=1.0), logits(np.float64, 3, n, seed=1)
    out = np.full_like(z, np.nan)
    kernels.softmax_backward(softmax(z), weights, out)
    assert_gradient(lambda z: float((softmax(z) * weights).sum()), z, out)


@pytest.mark.parametrize("n", [2, 5, 17, 40])
def test_the_gradient_of_cross_entropy(n):
    p = softmax(logits(np.float64, 3, n, scale=0.5))
    for labels in both_labels(3, n):
        gradient = of_targets("cross_entropy_backward", p, labels)
        # Probabilities are small, and log bends where they are: a smaller step.
        assert_gradient(lambda p, t=labels: kernels.cross_entropy(p, t), p, gradient, step=1e-6)


@pytest.mark.parametrize("n", [2, 5, 17, 40])
def test_the_gradient_of_both_together(n):
    z = logits(np.float64, 3, n, scale=1.0)
    for labels in both_labels(3, n):
        p = softmax(z)
        gradient = of_targets("softmax_minus_target", p, labels)

        def loss(z, t=labels):
            return kernels.mean_loss(softmax_and_losses(z, t)[1])

        assert_gradient(loss, z, gradient)
        chained = np.full_like(z, np.nan)
        kernels.softmax_backward(p, of_targets("cross_entropy_backward", p, labels), chained)
        np.testing.assert_allclose(chained, gradient, rtol=0, atol=1e-15)
