"""Bad input to layers: an error, and nothing changed. Good input in any form: converted once."""

import re
import tempfile

import numpy as np
import pytest

import kernels
import layers
from layers import datasets

pytestmark = pytest.mark.compiled

DIGITS, LABELS = (array[:96] for array in datasets.load_digits())
X = DIGITS * 16  # small integers, which every dtype here holds
N, N_IN, N_CLASSES = 96, 64, 10


def make(dtype: str = "float32") -> layers.Sequential:
    stack = [layers.Dense(N_IN, 8), layers.ReLU(), layers.Dense(8, N_CLASSES)]
    return layers.Sequential(stack, optimizer=layers.SGD(0.01), seed=0, dtype=dtype)


# Every way in, given x and y; those without labels ignore y.
ENTRANCES = {
    "fit": lambda model, x, y: model.fit(x, y),
    "fit, validation_data": lambda model, x, y: model.fit(X, LABELS, validation_data=(x, y)),
    "train_step": lambda model, x, y: model.train_step(x, y),
    "evaluate": lambda model, x, y: model.evaluate(x, y),
    "predict": lambda model, x, y: model.predict(x),
    "predict_proba": lambda model, x, y: model.predict_proba(x),
    "forward": lambda model, x, y: model.forward(x),
    "Dense.forward": lambda model, x, y: model.layers[0].forward(x),
}
WITH_LABELS = [name for name in ENTRANCES if "predict" not in name and "forward" not in name]


def names(entrance: str) -> tuple[str, str, str]:
    """What an error calls the place, x and y."""
    if entrance == "fit, validation_data":
        return "Sequential.fit", "validation_data[0]", "validation_data[1]"
    return entrance if "." in entrance else f"Sequential.{entrance}", "x", "y"


def assert_refused(entrance: str, x: object, y: object, about: str, words: list[str]) -> None:
    """A ValueError or TypeError that begins with place and argument, and says all the words.

    ``about`` is "x" or "y", whatever the entrance calls it.
    """
    place, x_name, y_name = names(entrance)
    model = make()
    before = model.fingerprint()
    with pytest.raises((ValueError, TypeError)) as caught:
        ENTRANCES[entrance](model, x, y)
    assert type(caught.value) in (ValueError, TypeError)
    message = str(caught.value)
    name = x_name if about == "x" else y_name
    assert re.match(rf"{re.escape(place)}: (row 17 of )?{re.escape(name)}(\[17\])? ", message), (
        message
    )
    assert "expected" in message, message
    for word in words:
        assert word in message, message
    assert len(message) < 400, message
    assert model.fingerprint() == before
    assert model.history == {}
    model.fit(X, LABELS)  # and it is usable


# --- x --------------------------------------------------------------------------------------------

BAD_X = {
    "no array": (None, ["is None", "real numbers"]),
    "a number": (5.0, ["shape ()", "(batch, 64)"]),
    "rank 1": (X[0], ["shape (64,)", "(batch, 64)"]),
    "rank 3": (X[None], ["shape (1, 96, 64)", "(batch, 64)"]),
    "one column too few": (X[:, 1:], ["shape (96, 63)", "(batch, 64)"]),
    "one column too many": (np.ones((96, 65)), ["shape (96, 65)", "(batch, 64)"]),
    "transposed": (X.T, ["shape (64, 96)", "(batch, 64)"]),
    "no columns": (X[:, :0], ["shape (96, 0)", "(batch, 64)"]),
    "no rows": (X[:0], ["shape (0, 64)", "batch at least 1"]),
    "an empty list": ([], ["shape (0,)", "(batch, 64)"]),
    "complex": (X.astype(np.complex64), ["complex64", "real numbers"]),
    "objects": (X.astype(object), ["object", "real numbers"]),
    "strings": (X.astype(str), ["<U", "real numbers"]),
    "bytes": (X.astype("S4"), ["S4", "real numbers"]),
    "dates": (X.astype("M8[D]"), ["datetime64", "real numbers"]),
    "durations": (X.astype("m8[s]"), ["timedelta64", "real numbers"]),
    "records": (np.zeros((96, 64), "f4,f4"), ["real numbers"]),
    "masked": (np.ma.masked_equal(X, 16), ["masked array", "filled"]),
    "ragged": ([[1.0, 2.0], [3.0]], ["list", "array"]),
    "a dict": ({"x": X}, ["a dict", "an array of real numbers"]),
}


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize(("x", "words"), BAD_X.values(), ids=BAD_X.keys())
def test_bad_x(entrance: str, x: object, words: list[str]):
    assert_refused(entrance, x, LABELS, "x", words)


# --- labels ---------------------------------------------------------------------------------------


def with_one(value: object, dtype: type = np.int64) -> np.ndarray:
    labels = LABELS.astype(dtype)
    labels[17] = value
    return labels


ONE_HOT = np.eye(N_CLASSES)[LABELS]


def with_row(row: list[float]) -> np.ndarray:
    targets = ONE_HOT.copy()
    targets[17] = row + [0.0] * (N_CLASSES - len(row))
    return targets


BAD_Y = {
    "no array": (None, ["is None", "(96,)", "(96, 10)"]),
    "a number": (3, ["shape ()", "(96,)", "(96, 10)"]),
    "floats that are no integers": (LABELS + 0.5, ["numbers (0.5 ...)", "0 to 9", "MeanSquared"]),
    "floats beyond the classes": (LABELS + 3.0, ["numbers (10.0 ...)", "0 to 9"]),
    "complex": (LABELS + 0j, ["complex128", "integers"]),
    "strings": (LABELS.astype(str), ["text ('0')", "np.unique"]),
    "objects": (np.array([None] * len(LABELS)), ["object", "integers"]),
    "masked": (np.ma.masked_equal(LABELS, 3), ["masked array"]),
    "masked rows": (np.ma.masked_equal(ONE_HOT, 0), ["masked array"]),
    "ragged": ([[1], [2, 3]], ["array", "(96,)", "(96, 10)"]),
    "below 0": (with_one(-1), ["[17] is -1", "0 to 9"]),
    "n_classes": (with_one(10), ["[17] is 10", "0 to 9", "n_classes is 10"]),
    "huge": (with_one(10**12), ["[17] is 1000000000000", "0 to 9"]),
    "wraps in int64": (with_one(2**64 - 1, np.uint64), [f"[17] is {2**64 - 1}", "0 to 9"]),
    "wraps in int8": (with_one(200, np.uint8), ["[17] is 200", "0 to 9"]),
    "fewer than rows": (LABELS[:-1], ["shape (95,)", "(96,)"]),
    "more than rows": (np.append(LABELS, 0), ["shape (97,)", "(96,)"]),
    "none": (LABELS[:0], ["shape (0,)", "(96,)"]),
    "one column, shorter": (LABELS[1:, None], ["shape (95, 1)", "(96,)", "(96, 10)"]),
    "rank 3": (ONE_HOT[None], ["shape (1, 96, 10)", "(96,)", "(96, 10)"]),
    "rows too narrow": (ONE_HOT[:, 1:], ["shape (96, 9)", "(96, 10)"]),
    "rows too wide": (np.eye(11)[LABELS], ["shape (96, 11)", "(96, 10)"]),
    "fewer target rows": (ONE_HOT[1:], ["shape (95, 10)", "(96, 10)"]),
    "target rows of strings": (ONE_HOT.astype(str), ["text ('1.0')", "np.unique"]),
    "target rows of complex": (ONE_HOT + 0j, ["complex128", "real numbers"]),
    "a row of zeros": (with_row([0.0]), ["row 17 of", "sum to 1"]),
    "a row of two ones": (with_row([1.0, 1.0]), ["row 17 of", "sum to 1"]),
    "a negative target": (with_row([1.5, -0.5]), ["row 17 of", "sum to 1"]),
    "a target of NaN": (with_row([1.0, np.nan]), ["row 17 of", "sum to 1"]),
    "a target of infinity": (with_row([np.inf]), ["row 17 of", "sum to 1"]),
}


@pytest.mark.parametrize("entrance", WITH_LABELS)
@pytest.mark.parametrize(("y", "words"), BAD_Y.values(), ids=BAD_Y.keys())
def test_bad_labels(entrance: str, y: object, words: list[str]):
    assert_refused(entrance, X, y, "y", words)


@pytest.mark.parametrize(
    ("x", "y"),
    [(x, LABELS) for x, _ in BAD_X.values()] + [(X, y) for y, _ in BAD_Y.values()],
    ids=[f"x: {name}" for name in BAD_X] + [f"y: {name}" for name in BAD_Y],
)
def test_a_step_after_others_refuses_the_same(x: object, y: object):
    """After the first, a step on as many rows goes a shorter way."""
    first, later = make(), make()
    for _ in range(2):
        later.train_step(X, LABELS)
    before = later.fingerprint()
    with pytest.raises((ValueError, TypeError)) as expected:
        first.train_step(x, y)
    with pytest.raises(type(expected.value), match=f"^{re.escape(str(expected.value))}$"):
        later.train_step(x, y)
    assert later.fingerprint() == before


LATER = {
    "every other label": lambda y: np.repeat(y, 2)[::2],
    "backwards": lambda y: y[::-1].copy()[::-1],
    "of the other byte order": lambda y: y.astype(y.dtype.newbyteorder()),
    "unaligned": lambda y: np.frombuffer(b"x" + y.tobytes(), y.dtype, len(y), 1),
    "of 8 bits": lambda y: y.astype(np.uint8),
    "of 64 bits, unsigned": lambda y: y.astype(np.uint64),
    "a list": lambda y: y.tolist(),
    "a subclass": lambda y: y.view(type("Own", (np.ndarray,), {})),
    "one hot": lambda y: np.eye(N_CLASSES, dtype=np.float32)[y],
}


@pytest.mark.parametrize("form", LATER.values(), ids=LATER)
def test_a_step_after_others_takes_the_same(form):
    plain, other = make(), make()
    for model in (plain, other):
        model.train_step(X, LABELS)
    y = LABELS[::-1].copy()
    assert other.train_step(X, form(y)) == plain.train_step(X, y)
    assert other.fingerprint() == plain.fingerprint()


@pytest.mark.parametrize(
    "loss", [layers.SoftmaxCrossEntropy(), layers.CategoricalCrossEntropy()], ids=repr
)
def test_bad_input_of_a_loss_by_itself(loss):
    place = f"^{type(loss).__name__}.forward: "
    scores = np.full((96, 10), 0.1, np.float32)
    for y, _ in BAD_Y.values():
        with pytest.raises((ValueError, TypeError), match=place + "(row 17 of )?labels"):
            loss.forward(scores, y)
    for bad in (scores[0], scores[None], scores[:0], scores[:, :0], scores + 0j, None):
        with pytest.raises((ValueError, TypeError), match=place + loss.takes):
            loss.forward(bad, LABELS)
    with pytest.raises(ValueError, match=r"\.backward: called before forward"):
        loss.backward()


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["epochs", "batch_size"])
@pytest.mark.parametrize(
    "value", [0, -1, 1.0, 2.5, np.float32(3), True, np.True_, "3", None, [3], np.array([3]), np.nan]
)
def test_bad_epochs_and_batch_size(name: str, value: object):
    model = make()
    before = model.fingerprint()
    with pytest.raises((ValueError, TypeError)) as caught:
        model.fit(X, LABELS, **{name: value})
    assert str(caught.value) == (
        f"Sequential.fit: {name} is {value!r}, expected an integer of at least 1"
    )
    assert model.fingerprint() == before


def test_integers_of_numpy_are_integers():
    model, expected = make(), make()
    model.fit(X, LABELS, epochs=np.int8(2), batch_size=np.uint64(5))
    expected.fit(X, LABELS, epochs=2, batch_size=5)
    assert model.fingerprint() == expected.fingerprint()


@pytest.mark.parametrize(
    "value",
    [-1e-9, -1, np.nan, np.inf, -np.inf, True, "0.1", None, 1j, [0.1], np.array([0.1]), 10**400],
)
def test_bad_learning_rate(value: object):
    message = r"^SGD: learning_rate is .*, expected a finite number of at least 0$"
    with pytest.raises((ValueError, TypeError), match=message):
        layers.SGD(value)
    model = make()
    with pytest.raises((ValueError, TypeError), match=message):
        model.optimizer.learning_rate = value
    assert model.optimizer.learning_rate == 0.01


@pytest.mark.parametrize("train", ["fit", "train_step"])
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_a_learning_rate_beyond_the_dtype_of_the_model(train: str, backend: str):
    message = r"^SGD: learning_rate is 1e\+39, expected .* in float32$"
    model = make()
    model.optimizer = layers.SGD(1e39)
    before = model.fingerprint()
    with layers.backend(backend), pytest.raises(ValueError, match=message):
        getattr(model, train)(X, LABELS)
    assert model.fingerprint() == before


def test_what_the_buffers_depend_on_is_settled():
    """Compiled training writes where a layer's widths say."""
    model = make()
    for thing, name in ((model, "layers"), (model, "n_in"), (model, "n_out")):
        with pytest.raises(AttributeError, match=name):
            setattr(thing, name, getattr(thing, name))
    for name in ("n_in", "n_out"):
        with pytest.raises(AttributeError, match=name):
            setattr(model.layers[0], name, 30_000)
    with pytest.raises(TypeError, match="does not support item assignment"):
        model.layers[0] = layers.Dense(2, 3)


def test_another_loss_or_optimizer_is_checked_as_the_first_was():
    model = make()
    with pytest.raises(ValueError, match=r"^Sequential: CategoricalCrossEntropy takes probab"):
        model.loss = layers.CategoricalCrossEntropy()
    with pytest.raises(TypeError, match=r"^Sequential: loss is None, expected .* Loss$"):
        model.loss = None
    with pytest.raises(TypeError, match=r"^Sequential: optimizer is 'sgd', expected .* Optimizer$"):
        model.optimizer = "sgd"
    model.fit(X, LABELS)


def test_numbers_beyond_the_dtype_of_the_model():
    x = np.array(X, np.float64)
    x[1, 0] = 1e300
    message = r"^Sequential.fit: x holds numbers beyond the range of float32, .* 3\.40282e\+38 in"
    with pytest.raises(ValueError, match=message):
        make().fit(x, LABELS)
    x[1, 0] = np.inf  # that is another thing
    with pytest.raises(layers.NonFiniteLoss):
        make().fit(x, LABELS)


def test_a_learning_rate_of_0_changes_nothing():
    model = make()
    before = model.fingerprint()
    model.optimizer.learning_rate = 0
    model.fit(X, LABELS)
    assert model.fingerprint() == before


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", "double!", 3, None])
def test_bad_dtype(dtype: object):
    for maker in (make, lambda dtype: layers.Dense(3, 2, dtype=dtype), layers.warmup):
        with pytest.raises(ValueError, match=r"dtype is .*, expected 'float32' or 'float64'"):
            maker(dtype)


@pytest.mark.parametrize("initializer", ["He", "xavier", "", 0.1, np.zeros(2), ["he"]])
def test_bad_initializer(initializer: object):
    with pytest.raises(
        (ValueError, TypeError), match=r"^Dense: initializer is .*'glorot', 'he', 'zeros'"
    ):
        layers.Dense(3, 2, initializer=initializer)


@pytest.mark.parametrize("seed", [1.0, -1, -(2**70), "0", True, np.nan, [0], np.array(0), b"0"])
def test_bad_seed(seed: object):
    with pytest.raises((ValueError, TypeError), match=r"^Dense: seed is .*, expected an integer"):
        layers.Dense(3, 2, seed=seed)
    dense = layers.Dense(3, 2)
    with pytest.raises(
        (ValueError, TypeError), match=r"^Sequential: seed is .*, expected an integer"
    ):
        layers.Sequential([dense], seed=seed)
    layers.Sequential([dense])  # it was left free


@pytest.mark.parametrize("width", [0, -3, 2.0, True, "3", None, np.array([3])])
def test_bad_widths(width: object):
    for name, arguments in (("n_in", (width, 2)), ("n_out", (2, width))):
        with pytest.raises(
            (ValueError, TypeError),
            match=f"^Dense: {name} is .*, expected an integer of at least 1",
        ):
            layers.Dense(*arguments)


@pytest.mark.parametrize(
    "pair", [X, (X,), (X, LABELS) * 2, [], "xy", {"x": X, "y": LABELS}, np.ones((2, 3)), 5]
)
def test_bad_form_of_validation_data(pair: object):
    model = make()
    before = model.fingerprint()
    with pytest.raises(
        TypeError, match=r"^Sequential\.fit: validation_data is .*, expected a pair \(x, y\)"
    ):
        model.fit(X, LABELS, validation_data=pair)
    assert model.fingerprint() == before
    model.fit(X, LABELS, validation_data=[X, LABELS])  # a list of two is a pair


# --- one layer at a time --------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [layers.Dense(3, 2), layers.ReLU(), layers.Softmax()], ids=repr)
def test_backward_before_forward(layer: layers.Layer):
    with pytest.raises(
        ValueError, match=rf"^{type(layer).__name__}\.backward: called before forward, expected"
    ):
        layer.backward(np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"^Dense\.backward: called before forward"):
        make().backward(np.ones((1, N_CLASSES)))


@pytest.mark.parametrize("kind", [layers.Dense, layers.ReLU, layers.Softmax])
def test_bad_gradient(kind: type):
    layer = kind(3, 2) if kind is layers.Dense else kind()
    width = 2 if kind is layers.Dense else 3
    layer.forward(np.ones((4, 3)))
    good = np.ones((4, width))
    before = layer.backward(good).copy()
    for bad, word in (
        (good[:3], rf"shape \(3, {width}\), expected \(4, {width}\)"),
        (np.ones((4, width + 1)), rf"shape \(4, {width + 1}\), expected \(4, {width}\)"),
        (good[0], "shape"),
        (good[None], "shape"),
        (good + 0j, "complex128, expected real numbers"),
        (good.astype(str), "expected real numbers"),
        (np.ma.masked_equal(good, 0), "masked array"),
        (None, "is None, expected real numbers"),
    ):
        with pytest.raises(
            (ValueError, TypeError), match=rf"^{kind.__name__}\.backward: dy .*{word}"
        ):
            layer.backward(bad)
    assert layer.backward(good).tobytes() == before.tobytes()


# --- good input in other forms --------------------------------------------------------------------


def swapped(a: np.ndarray) -> np.ndarray:
    return a.astype(a.dtype.newbyteorder())


def unaligned(a: np.ndarray) -> np.ndarray:
    memory = np.zeros(a.nbytes + 1, np.uint8)
    odd = memory[1:].view(a.dtype).reshape(a.shape)
    odd[...] = a
    assert not odd.flags.aligned
    return odd


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def memory_mapped(a: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryFile() as file:
        file.write(a.tobytes())
        file.flush()
        return np.memmap(file, a.dtype, "r", 0, a.shape)


class Marked(np.ndarray):
    """A subclass of a user's own."""


FORMS = {
    "columns apart": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "rows apart": lambda a: np.repeat(a, 3, axis=0)[::3],
    "part of a row": lambda a: np.concatenate([a, a], axis=-1)[..., : a.shape[-1]],
    "fortran": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "mirrored": lambda a: a[..., ::-1].copy()[..., ::-1],
    "swapped": swapped,
    "swapped fortran": lambda a: np.asfortranarray(swapped(a)),
    "read-only": read_only,
    "unaligned": unaligned,
    "unaligned and swapped": lambda a: unaligned(swapped(a)),
    "subclass": lambda a: a.view(Marked),
    "memory-mapped": memory_mapped,
    "list": lambda a: a.tolist(),
    "list of arrays": list,
    "tuple of tuples": lambda a: tuple(map(tuple, a.tolist())) if a.ndim == 2 else tuple(a),
}


def outcome(x: object, y: object, dtype: str) -> list[object]:
    """Everything that a model makes of some data, to the bit."""
    model = make(dtype)
    history = model.fit(x, y, batch_size=20, validation_data=(x, y))
    loss = model.train_step(x, y)
    return [
        model.fingerprint(),
        dict(history),
        loss,
        model.evaluate(x, y),
        model.predict(x).tobytes(),
        model.predict_proba(x).tobytes(),
        model.forward(x).tobytes(),
    ]


@pytest.fixture(scope="module")
def expected() -> dict[str, list[object]]:
    return {dtype: outcome(X.astype(dtype), LABELS, dtype) for dtype in ("float32", "float64")}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_any_layout_gives_the_bits_of_a_clean_copy(form, dtype: str, expected: dict):
    x = X.astype(dtype)
    assert outcome(form(x), LABELS, dtype) == expected[dtype]
    labels = (
        form(LABELS) if form not in (FORMS["columns apart"], FORMS["part of a row"]) else LABELS
    )
    assert outcome(x, labels, dtype) == expected[dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "given",
    ["int8", "uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64", "g"],
)
def test_any_real_dtype_is_converted_once(given: str, dtype: str, expected: dict):
    """X holds integers from 0 to 16, so by hand and by us there is only one right answer."""
    assert outcome(X.astype(given), LABELS, dtype) == expected[dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", ["bool", "float16", "float64"])
def test_conversion_is_that_of_numpy(given: str, dtype: str):
    """Numbers that the model's dtype has to round, and booleans: as ``astype`` has them."""
    x = np.empty((N, N_IN))
    kernels.uniform(1, 0, -1.0, 1.0, x)
    x = (x > 0) if given == "bool" else x.astype(given)
    assert outcome(x, LABELS, dtype) == outcome(x.astype(dtype), LABELS, dtype)


LABEL_FORMS = {
    "int8": LABELS.astype(np.int8),
    "uint8": LABELS.astype(np.uint8),
    "int32": LABELS.astype(np.int32),
    "uint64": LABELS.astype(np.uint64),
    "swapped": LABELS.astype(">i4"),
    "list": LABELS.tolist(),
    "tuple": tuple(LABELS.tolist()),
    "read-only": read_only(LABELS),
    "unaligned": unaligned(LABELS),
    "one-hot bool": ONE_HOT.astype(bool),
    "one-hot int8": ONE_HOT.astype(np.int8),
    "one-hot int64": ONE_HOT.astype(np.int64),
    "one-hot float16": ONE_HOT.astype(np.float16),
    "one-hot float32": ONE_HOT.astype(np.float32),
    "one-hot float64": ONE_HOT,
    "one-hot fortran": np.asfortranarray(ONE_HOT),
    "one-hot backwards": ONE_HOT[::-1].copy()[::-1],
    "one-hot list": ONE_HOT.astype(int).tolist(),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("y", LABEL_FORMS.values(), ids=LABEL_FORMS.keys())
def test_labels_in_any_form(y: object, dtype: str, expected: dict):
    assert outcome(X.astype(dtype), y, dtype) == expected[dtype]


def test_a_frame_is_read_as_its_array(expected: dict):
    """Anything that NumPy can read, such as a pandas data frame."""

    class Frame:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return self.array

    assert outcome(Frame(X), Frame(LABELS), "float32") == expected["float32"]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_any_layout_of_a_gradient(form):
    dy = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
    for make_layer in (lambda: layers.Dense(3, 3, seed=0), layers.ReLU, layers.Softmax):
        results = []
        for gradient in (dy, form(dy)):
            layer = make_layer()
            layer.forward(dy / 2 + 0.25)
            results.append(layer.backward(gradient).tobytes())
            if isinstance(layer, layers.Dense):
                results[-1] += layer.dweights.tobytes() + layer.dbiases.tobytes()
        assert results[0] == results[1]
