"""Inputs that callers change while compiled code reads them: nothing crashes."""

import mmap
import os
import sys
import threading
import tracemalloc
import warnings

import numpy as np
import pytest

import kernels
import layers
from layers import base, datasets, inference
from layers.compiled import runner as compiled
from layers.compiled import tuning as pace
from layers.labels import as_labels

pytestmark = pytest.mark.compiled

X, Y = (array[:320] for array in datasets.load_digits())
ROWS = np.eye(10, dtype=np.float32)[Y]


class OwnReLU(layers.ReLU):
    """It makes a model run layer by layer."""

    def forward(self, x, training=False):
        return super().forward(x, training)


both_paths = pytest.mark.parametrize("relu", [layers.ReLU, OwnReLU], ids=["compiled", "by layers"])


def make(relu=layers.ReLU) -> layers.Sequential:
    stack = [layers.Dense(64, 16), relu(), layers.Dense(16, 10)]
    return layers.Sequential(stack, optimizer=layers.SGD(0.1), seed=0)


def after(relu, x=X, y=Y, **arguments) -> tuple[str, dict]:
    """The fingerprint and the history, where nobody changes anything."""
    model = make(relu)
    model.fit(x, y, 2, shuffle=False, **arguments)
    return model.fingerprint(), dict(model.history)


def set_shape(array: np.ndarray, shape: tuple[int, ...]) -> None:
    with warnings.catch_warnings(action="ignore"):  # NumPy 2.5 would have no one do it
        array.shape = shape


# --- labels ---------------------------------------------------------------------------------------


class Series:
    """Such as a column of a data frame: NumPy reads its memory without a copy."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return self._array.copy() if copy else self._array


@both_paths
@pytest.mark.parametrize("form", [np.asarray, Series])
@pytest.mark.parametrize("label", [3, -1, 2**40])
def test_labels_that_are_written_to_during_fit(relu, form, label):
    y = Y.copy()
    model = make(relu)

    def overwrite(progress):
        y[:] = label

    pair = X[:50], form(y[:50])
    model.fit(
        X, form(y), 2, shuffle=False, validation_data=pair, callbacks=overwrite, callback_batches=1
    )
    expected = after(relu, validation_data=(X[:50], Y[:50]))
    assert (model.fingerprint(), dict(model.history)) == expected


@pytest.mark.parametrize("method", ["evaluate", "train_step"])
def test_labels_that_are_written_to_within_a_call(method):
    y = Y.copy()

    class Overwrites(layers.ReLU):
        def forward(self, x, training=False):
            y[:] = -1
            return super().forward(x, training)

    model, expected = make(Overwrites), make(OwnReLU)
    assert getattr(model, method)(X, y) == getattr(expected, method)(X, Y)
    assert model.fingerprint() == expected.fingerprint()


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (layers.SoftmaxCrossEntropy(), Y),
        (layers.CategoricalCrossEntropy(), Y),
        (layers.CategoricalCrossEntropy(), ROWS),
    ],
)
def test_what_a_loss_keeps_between_its_passes(loss, y):
    scores, labels = np.full((320, 10), np.float32(0.1)), y.copy()
    loss.forward(scores, labels)
    expected = loss.backward()
    if labels.ndim == 1:
        labels[:] = -1
        np.testing.assert_array_equal(loss.backward(), expected)
    else:
        set_shape(labels, (3200, 1))
        with pytest.raises(ValueError, match=r"\.backward: labels has shape \(3200, 1\), expected"):
            loss.backward()
    loss.forward(scores, y)
    set_shape(scores, (3200, 1))
    np.testing.assert_array_equal(loss.backward(), expected)


def test_labels_cost_eight_bytes_a_row():
    y = np.zeros(1_000_000, np.uint8)
    tracemalloc.start()
    as_labels("place", "y", y, len(y), 10, np.dtype(np.float32))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 9.5e6


# --- shapes and memory ----------------------------------------------------------------------------


@both_paths
@pytest.mark.parametrize("shape", [(64, 320), (64 * 320, 1), (64 * 320,), (1, 320, 64)])
def test_arrays_that_get_another_shape_during_fit(relu, shape):
    arrays = x, rows, val_x, val_rows = X.copy(), ROWS.copy(), X.copy(), ROWS.copy()
    model = make(relu)

    def change(progress):
        for array in (x, val_x):
            set_shape(array, shape)
        for array in (rows, val_rows):
            set_shape(array, (array.size, 1))

    pair = val_x, val_rows
    model.fit(x, rows, 2, shuffle=False, validation_data=pair, callbacks=change, callback_batches=1)
    assert all(array.shape[-1] != 64 or array.ndim != 2 for array in arrays[::2])
    expected = after(relu, X, ROWS, validation_data=(X, ROWS))
    assert (model.fingerprint(), dict(model.history)) == expected


@both_paths
@pytest.mark.parametrize("part", ["all of it", "a view"])
def test_arrays_are_not_resized_during_fit(relu, part):
    """Not even with ``refcheck=False``: NumPy would give their memory back."""
    arrays = x, *_ = X.copy(), ROWS.copy(), X.copy(), ROWS.copy()
    model, refused = make(relu), []

    def change(progress):
        for array in arrays:
            with pytest.raises(ValueError, match="cannot resize"):
                array.resize((1, array.shape[1]), refcheck=False)
            refused.append(array)

    given = [array[:] if part == "a view" else array for array in arrays]
    model.fit(*given[:2], 2, shuffle=False, validation_data=given[2:], callbacks=change)
    assert len(refused) == 8
    assert (model.fingerprint(), dict(model.history)) == after(
        relu, X, ROWS, validation_data=(X, ROWS)
    )
    x.resize((1, 64), refcheck=False)  # once nothing reads it


@both_paths
def test_parameters_that_get_another_shape(relu):
    model = make(relu)
    dense = model.layers[0]

    def change(progress):
        for array in (dense.weights, dense.parameters()["weights"], *model.parameters().values()):
            set_shape(array, (array.size,))
        for array in (dense.biases, dense.dweights, dense.dbiases):
            if array is not None:
                set_shape(array, (array.size, 1))

    model.fit(X, Y, 2, shuffle=False, callbacks=change, callback_batches=1)
    assert model.fingerprint() == after(relu)[0]
    assert dense.weights.shape == (64, 16)
    alone = layers.Dense(3, 2)
    set_shape(alone.weights, (2, 3))
    assert alone.forward(np.ones((4, 3))).shape == (4, 2)


def test_a_view_of_the_weights_writes_into_the_model():
    model = make()
    model.layers[0].weights[1, 2] = 7
    model.layers[0].parameters()["biases"][0, 3] = 8
    assert model.parameters()["0.weights"][1, 2] == 7
    assert model.parameters()["0.biases"][0, 3] == 8


def test_the_dtype_is_settled():
    model = make()
    before = model.fingerprint()
    with pytest.raises(AttributeError, match="dtype"):
        model.dtype = np.dtype(np.float64)
    for layer in model.layers:
        with pytest.raises(AttributeError, match=r"^(Dense|ReLU): dtype is its model's, float32"):
            layer.dtype = np.dtype(np.float64)
        assert layer.dtype == model.dtype == np.float32
    assert model.fingerprint() == before
    own = OwnReLU()
    own.dtype = np.dtype(np.float64)  # still free
    assert own.forward([[1]]).dtype == np.float64
    assert layers.Sequential([layers.Dense(2, 2), own]).layers[1].dtype == np.float32


# --- files mapped into memory ---------------------------------------------------------------------

FORMS = {
    "memmap": lambda mapped: mapped,
    "array": np.asarray,
    "rows": lambda mapped: mapped[10:],
    "another dtype": lambda mapped: mapped.view(np.int32),
    "buffer": lambda mapped: np.frombuffer(mapped.base, np.float32).reshape(mapped.shape),
}
USES = {
    "predict": lambda model, x, y: model.predict(x),
    "predict_proba": lambda model, x, y: model.predict_proba(x),
    "evaluate": lambda model, x, y: model.evaluate(x, y),
    "forward": lambda model, x, y: model.forward(x),
    "train_step": lambda model, x, y: model.train_step(x, y),
    "train_step, few rows": lambda model, x, y: model.train_step(x[-16:], y[-16:]),
    "fit": lambda model, x, y: model.fit(x, y),
    "fit, validation": lambda model, x, y: model.fit(X, Y, validation_data=(x, y)),
    "fit, batches": lambda model, x, y: model.fit([(x, y)]),
    "Dense.forward": lambda model, x, y: model.layers[0].forward(x),
    "kernels": lambda model, x, y: kernels.relu_forward(
        x.view(np.float32), np.empty(x.shape, np.float32)
    ),
}


@pytest.fixture
def mapped(tmp_path):
    """A function that writes an array to a file and maps it, read-only."""

    def write(array, name="x.bin", offset=0):
        path = tmp_path / name
        path.write_bytes(bytes(offset) + array.tobytes())
        return np.memmap(path, array.dtype, "r", offset, array.shape)

    return write


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_mapped_file_that_has_shrunk(use, form, mapped):
    """Reading on would end the process with a bus error."""
    file = mapped(np.tile(X, (5, 1)))
    x, model = form(file), make()
    y = np.resize(Y, len(x))
    use(model, x, y)
    before = model.fingerprint()
    os.truncate(file.filename, 4096)
    with pytest.raises(OSError, match=r"is mapped from .*, which has shrunk to 4096 bytes, exp"):
        use(model, x, y)
    assert model.fingerprint() == before


@pytest.mark.parametrize("form", [lambda mapped: mapped, np.asarray], ids=["memmap", "array"])
def test_mapped_labels_of_a_step_that_have_shrunk(form, mapped):
    file = mapped(np.resize(Y, 4096).astype(np.int64), "y.bin")
    y, model = form(file), make()
    model.train_step(X[:16], y[-16:])
    before = model.fingerprint()
    os.truncate(file.filename, 4096)
    with pytest.raises(OSError, match=r"y is mapped from .*, which has shrunk to 4096 bytes, exp"):
        model.train_step(X[:16], y[-16:])
    assert model.fingerprint() == before


@both_paths
@pytest.mark.parametrize("kind", [np.int64, np.float32, np.float64])
def test_mapped_labels_that_shrink(relu, kind, mapped):
    """Class indices and converted rows are copied; rows that lie well are read again."""
    y = Y if kind is np.int64 else ROWS.astype(kind)
    y = np.tile(y, (10,) + (1,) * (y.ndim - 1))
    x, file, model = np.tile(X, (10, 1)), mapped(y), make(relu)

    def shrink(progress):
        os.truncate(file.filename, 100)

    def fit():
        model.fit(x, file, shuffle=False, callbacks=shrink, callback_batches=1)

    if kind is np.float32:
        with pytest.raises(OSError, match=r"^Sequential.fit: y is mapped .* 100 bytes, .* before"):
            fit()
        expected = make(relu)
        expected.fit(x[:32], y[:32], shuffle=False)
        assert model.fingerprint() == expected.fingerprint()
    else:
        fit()
    with pytest.raises(OSError, match=r"^Sequential.evaluate: y is mapped from"):
        model.evaluate(x, file)


@both_paths
def test_mapped_validation_data_that_shrink(relu, mapped):
    for shrinking, name in ((0, r"\[0\]"), (1, r"\[1\]")):
        pair = mapped(X, "val_x.bin"), mapped(ROWS, "val_y.bin")

        def shrink(progress, path=pair[shrinking].filename):
            os.truncate(path, 0)

        with pytest.raises(OSError, match=f"^Sequential.fit: validation_data{name} is mapped"):
            make(relu).fit(X, Y, 3, validation_data=pair, callbacks=shrink)


@both_paths
def test_a_mapped_file_that_shrinks_while_it_is_predicted(relu, mapped, monkeypatch):
    x = mapped(np.tile(X, (20, 1)))
    model = make(relu)
    calls = []

    def shrinks(usual):
        def call(*args, **kwargs):
            result = usual(*args, **kwargs)
            calls.append(os.truncate(x.filename, 100))
            return result

        return call

    monkeypatch.setattr(compiled, "_DIRECT", 0)
    monkeypatch.setattr(pace.Pace, "run", shrinks(pace.Pace.run))
    monkeypatch.setattr(OwnReLU, "forward", shrinks(layers.ReLU.forward))
    with pytest.raises(OSError, match=r"^Sequential: x is mapped from"):
        model.predict(x)
    assert len(calls) == 1


def test_the_offset_of_a_mapping_counts(mapped):
    x = mapped(X, offset=8192)
    model = make()
    needed = 8192 + X.nbytes
    os.truncate(x.filename, needed - 1)
    with pytest.raises(OSError, match=f"shrunk to {needed - 1} bytes, expected {needed}"):
        model.fit(x, Y)
    half = x[:160]
    model.fit(half, Y[:160])  # all of it is there
    os.truncate(x.filename, 8192 + half.nbytes)
    model.fit(half, Y[:160])
    os.truncate(x.filename, 8192 + half.nbytes - 1)
    with pytest.raises(OSError, match="shrunk"):
        model.fit(half, Y[:160])
    assert kernels.relu_forward(x[200:][:0], np.empty((0, 64), np.float32)) is None  # reads nothing


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_mapped_file_that_is_deleted_or_replaced(use, mapped):
    """What is mapped stays, whatever has its name now."""
    x = mapped(X)
    model = make()
    os.remove(x.filename)
    use(model, x, Y)
    with open(x.filename, "wb"):
        use(model, x, Y)


def test_a_mapping_that_is_closed(tmp_path):
    path = tmp_path / "x.bin"
    X.tofile(path)
    with open(path, "rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    x = np.ndarray(X.shape, np.float32, mapping)
    make().predict(x)
    mapping.close()
    with pytest.raises(OSError, match=r"x is mapped from a file, whose mapping is closed"):
        make().predict(x)


def test_memory_that_is_no_file_is_read_as_it_is():
    mapping = mmap.mmap(-1, X.nbytes)
    mapping.write(X.tobytes())
    x = np.frombuffer(mapping, np.float32).reshape(X.shape)
    np.testing.assert_array_equal(make().predict(x), make().predict(X))


# --- inference beside training --------------------------------------------------------------------


class Tanh(layers.Layer):
    """A layer of the user's own, that keeps what it needs as it likes."""

    def forward(self, x, training=False):
        self.kept = np.tanh(x)
        return self.kept

    def backward(self, dy):
        return dy * (1 - self.kept**2)


class Block(layers.Layer):
    """A layer that holds others."""

    def __init__(self) -> None:
        self.inner = [Tanh(), layers.ReLU()]
        self.named = {"tanh": Tanh(), "pair": (Tanh(), 1)}

    def _all(self):
        return [*self.inner, self.named["tanh"], self.named["pair"][0]]

    def forward(self, x, training=False):
        for layer in self._all():
            x = layer.forward(x, training)
        return x

    def backward(self, dy):
        for layer in reversed(self._all()):
            dy = layer.backward(dy)
        return dy


class Slotted(layers.Layer):
    __slots__ = ("factor", "seen")

    def __init__(self) -> None:
        self.factor = 0.5

    def forward(self, x, training=False):
        self.seen = x * self.factor
        return self.seen

    def backward(self, dy):
        return dy * self.factor * np.sign(abs(self.seen) + 1)


class Replaced(layers.ReLU):
    """Its forward is one of the object's own."""

    def __init__(self) -> None:
        self.forward = self._own_forward

    def _own_forward(self, x, training=False):
        self.kept = layers.ReLU.forward(self, x, training)
        return self.kept


class Peeks(layers.Layer):
    """It predicts with the whole model between a layer's forward and its backward."""

    model = None

    def forward(self, x, training=False):
        return x

    def backward(self, dy):
        if self.model is not None:
            thread = threading.Thread(target=self.use)
            thread.start()
            thread.join()
        return dy

    def use(self):
        self.model.predict(X[:7])
        self.model.predict_proba(X[7:9])
        self.model.evaluate(X[:5], Y[:5])


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("own", [Tanh, Block, Slotted, Replaced, layers.ReLU], ids=repr)
def test_inference_does_not_disturb_a_step_of_training(own, backend):
    def trained(peeks: bool) -> str:
        stack = [layers.Dense(64, 16), own(), layers.Dense(16, 16), Peeks(), layers.Dense(16, 10)]
        model = layers.Sequential(stack, optimizer=layers.SGD(0.1), seed=0)
        stack[3].model = model if peeks else None
        with layers.backend(backend):
            model.fit(X, Y, 2)
        return model.fingerprint()

    assert trained(True) == trained(False)


def test_forward_and_backward_of_a_model_are_the_layers_own():
    model, other = make(OwnReLU), make(OwnReLU)
    dy = np.ones((32, 10), np.float32)
    for each in (model, other):
        each.forward(X[:32])
        if each is model:
            each.predict(X[:5])
        each.backward(dy)
    np.testing.assert_array_equal(model.layers[0].dweights, other.layers[0].dweights)
    assert model.layers[1].output.shape == (32, 16)


def test_inference_has_the_parameters_of_the_layer():
    layer = make().layers[0]
    other = base.for_inference(layer)
    assert other.forward(X) is other.output
    assert layer.output is None
    layer.weights[...] = 1
    np.testing.assert_array_equal(other.weights, 1)
    block = Block()
    again = base.for_inference(block)
    assert type(again) is Block
    assert not {id(layer) for layer in block._all()} & {id(layer) for layer in again._all()}
    shared = Tanh()
    shared.seen, shared.by_name = [1], {"a": (1, 2)}
    again = base.for_inference(shared)
    assert again.seen is shared.seen
    assert again.by_name is shared.by_name


# --- labels of later rows -------------------------------------------------------------------------


@both_paths
@pytest.mark.parametrize("rows", [False, True])
def test_each_part_of_evaluate_has_its_own_labels(relu, rows, monkeypatch):
    model = make(relu)
    model.fit(X, Y)
    n = 2 * inference._EVALUATE_ROWS + 100
    x, y = np.resize(X, (n, 64)), np.resize(np.roll(Y, 1), n)
    y[: inference._EVALUATE_ROWS] = 0
    right = np.count_nonzero(model.predict(x) == y)
    scores = model.predict_proba(x).astype(np.float64)
    loss = -np.log(scores[np.arange(n), y]).mean()
    got = model.evaluate(x, np.eye(10, dtype=np.float32)[y] if rows else y)
    assert got["accuracy"] == right / n
    assert got["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("off", "fine"), [(9e-4, True), (1.2e-3, False)])
def test_the_tolerance_of_target_rows(dtype, off, fine):
    for sign in (1, -1):
        y = np.eye(10, dtype=dtype)[Y]
        y[17, Y[17]] += sign * off
        if fine:
            make().fit(X, y)
            continue
        with pytest.raises(ValueError, match=r"(?s)^Sequential.fit: row 17 of y is .* sum to 1"):
            make().fit(X, y)


# --- copies in vain -------------------------------------------------------------------------------


def test_a_shape_is_compared_before_anything_is_copied():
    """Numbers that are all one place in memory, and many if they were copied."""
    huge = np.broadcast_to(np.float64(1), (2**18, 63))
    labels = np.broadcast_to(np.int8(1), 2**23)
    rows = np.broadcast_to(np.float64(0.1), (2**20, 11))
    model, dense = make(), layers.Dense(64, 2)
    dense.forward(X)
    tracemalloc.start()
    for call in (
        lambda: model.predict(huge),
        lambda: model.fit(huge, Y),
        lambda: model.fit(X, Y, validation_data=(huge, Y)),
        lambda: model.fit([(huge, Y)]),
        lambda: model.fit(X, labels),
        lambda: model.evaluate(X, rows),
        lambda: dense.forward(huge),
        lambda: dense.backward(huge),
        lambda: layers.SoftmaxCrossEntropy().forward(X, rows),
        lambda: layers.SoftmaxCrossEntropy().forward(huge[None], Y),
        lambda: setattr(dense, "weights", huge),
        lambda: layers.profile(model, huge, Y),
    ):
        with pytest.raises(ValueError, match=r"has shape .*, expected"):
            call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


# --- errors that had no place ---------------------------------------------------------------------


class Tensor:
    """As of a library that records what is done with its tensors."""

    def __init__(self, array: np.ndarray, requires_grad: bool = True) -> None:
        self.array, self.requires_grad = array, requires_grad

    def detach(self):
        return Tensor(self.array, False)

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        return self.array.copy() if copy else self.array


def test_a_tensor_that_requires_grad():
    model, expected = make(), make()
    model.fit(Tensor(X), Tensor(ROWS), validation_data=(Tensor(X), Tensor(Y)))
    expected.fit(X, ROWS, validation_data=(X, Y))
    assert model.fingerprint() == expected.fingerprint()
    assert model.history == expected.history
    np.testing.assert_array_equal(model.predict(Tensor(X)), model.predict(X))


def test_an_object_that_cannot_be_an_array():
    class Broken(Tensor):
        def detach(self):
            return self

    model = make()
    with pytest.raises(TypeError, match=r"^Sequential.predict: x is a Broken that cannot be an ar"):
        model.predict(Broken(X))
    with pytest.raises(TypeError, match=r"^Sequential.fit: x is a list that cannot be an array"):
        model.fit([Broken(row) for row in X], Y)
    with pytest.raises(ValueError, match=r"^Sequential.fit: y cannot be an array \(Can't call"):
        model.fit(X, Broken(Y))
    with open(__file__) as stream:  # its `detach` would close it
        with pytest.raises(TypeError, match=r"^Sequential.predict: x "):
            model.predict(stream)
        assert stream.readline()


def test_layers_beyond_memory():
    with pytest.raises(ValueError, match=r"^Dense: n_in \* n_out is \d+, expected at most \d+: an"):
        layers.Dense(2**40, 2**40)
    too_large = layers.Dense(sys.maxsize // 2**11, 2**8)
    with pytest.raises(MemoryError, match=r"^Dense: no memory for weights of shape \(\d+, 256\)"):
        too_large.parameters()
    with pytest.raises(MemoryError, match=r"^Sequential: no memory for [\d,]+ parameters in"):
        layers.Sequential([layers.Dense(sys.maxsize // 2**11, 2**8), layers.Dense(2**8, 2**50)])


@pytest.mark.parametrize("name", [[], {}, np.zeros(3), None, 1, "cupy"])
def test_a_backend_by_another_name(name):
    with (
        pytest.raises(ValueError, match=r"^backend: name is .*, expected one of \['numba', 'numpy"),
        layers.backend(name),
    ):
        pass


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_is_finite_up_to_half_the_largest_number(dtype):
    half = float(np.finfo(dtype).max) / 2
    loss = layers.SoftmaxCrossEntropy()
    logits = np.array([[half, -half, 0.0]], dtype)
    for label in range(3):
        assert np.isfinite(loss.forward(logits, [label]))
        assert np.isfinite(loss.backward()).all()
    assert loss.forward(logits * np.array([[2, 2, 1]], dtype), [1]) == np.inf
