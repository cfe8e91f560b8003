"""Programs: the lines recorded from layers, their fusion, and their writers."""

import copy
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest

import layers
from kernels.activations import RELU
from kernels.network import program
from kernels.network.program import MOVES, Place
from kernels.optimizers import ADAM, SGD
from kernels.product.column_sum import COLUMN_SUM
from kernels.product.flags import CLIP, MASK, SCALE
from kernels.softmax import SOFTMAX_BACKWARD, SOFTMAX_FORWARD
from layers import datasets
from layers.compiled import lowering
from layers.compiled.fusing import fused
from layers.compiled.lines import Value, Writer
from layers.compiled.recorder import Recorder
from layers.files import model_file

pytestmark = pytest.mark.compiled

X, Y = (array[:250] for array in datasets.load_digits())


@pytest.fixture
def layer_by_layer(monkeypatch):
    """Make models run layer by layer from the call on."""

    def switch() -> None:
        monkeypatch.setattr(lowering, "obstacle", lambda model: "for a test")

    return switch


# --- the rule of fusion, on recorded lines --------------------------------------------------------


class Tape:
    """A recorder of a dense layer 3 x 2, and what it has recorded."""

    def __init__(self) -> None:
        self.parameters, self.gradients = (np.zeros((1, 8), np.float32) for _ in range(2))
        self.run = Recorder(self.parameters, self.gradients)
        self.x, self.dy = Value(3), Value(2)

    def dense(self, x=None):
        weights, biases = self.parameters[0, :6].reshape(3, 2), self.parameters[:, 6:]
        return self.run.dense_forward(self.x if x is None else x, weights, biases)

    def back(self, dy=None):
        weights = self.parameters[0, :6].reshape(3, 2)
        return self.run.dense_backward_inputs(self.dy if dy is None else dy, weights)

    def sums(self):
        dweights, dbiases = self.gradients[0, :6].reshape(3, 2), self.gradients[:, 6:]
        self.run.dense_backward_parameters(self.x, self.dy, dweights, dbiases)

    def fused(self, operation=SGD.operation):
        updates = self.run.updates(operation)
        return fused([*self.run.lines, *self.run.gradient_lines, *updates])


def families(lines):
    return [line.family for line in lines]


def test_an_activation_runs_on_the_product_before_it():
    tape = Tape()
    y = tape.run.elementwise(RELU.forward, tape.dense())
    (line,) = tape.fused()
    assert (line.family, line.then, line.out, line.other) == (program.PRODUCT, RELU.forward, y, y)
    assert line.flags & CLIP


def test_only_one_operation_does():
    tape = Tape()
    once = tape.run.elementwise(RELU.forward, tape.dense())
    twice = tape.run.elementwise(RELU.forward, once)
    first, second = tape.fused()
    assert (first.then, first.out) == (RELU.forward, once)
    assert (second.family, second.x, second.out) == (program.ELEMENTWISE, once, twice)


def test_a_gradient_runs_on_the_product_that_gives_dy():
    tape, kept = Tape(), Value(3)
    dx = tape.run.elementwise(RELU.backward, kept, tape.back())
    (line,) = tape.fused()
    assert (line.family, line.then) == (program.PRODUCT, RELU.backward)
    assert (line.out, line.other) == (dx, kept)
    assert line.flags & MASK


def test_a_gradient_does_not_run_on_the_product_that_gives_what_is_kept():
    tape = Tape()
    tape.run.elementwise(RELU.backward, tape.back(), Value(3))
    assert families(tape.fused()) == [program.PRODUCT, program.ELEMENTWISE]


def test_a_product_that_is_read_twice_by_one_operation_is_stored():
    tape = Tape()
    dx = tape.back()
    tape.run.elementwise(RELU.backward, dx, dx)
    assert families(tape.fused()) == [program.PRODUCT, program.ELEMENTWISE]


@pytest.mark.parametrize("reads", ["a product", "an operation", "a gradient"])
def test_a_product_that_somebody_else_reads_is_stored(reads):
    """Such as an activation whose gradient needs its input."""
    tape = Tape()
    scores = tape.dense()
    y = tape.run.elementwise(RELU.forward, scores)
    if reads == "a product":
        tape.back(scores)
    elif reads == "an operation":
        tape.run.rowwise(SOFTMAX_FORWARD, scores)
    else:
        tape.run.elementwise(RELU.backward, scores, Value(2))
    lines = tape.fused()
    assert (lines[0].then, lines[0].out) == (None, scores)
    assert (lines[1].family, lines[1].x, lines[1].out) == (program.ELEMENTWISE, scores, y)


def test_a_rowwise_operation_is_a_pass_of_its_own():
    """It needs whole rows, and a product has strips of them."""
    tape = Tape()
    p = tape.run.rowwise(SOFTMAX_FORWARD, tape.dense())
    tape.run.rowwise(SOFTMAX_BACKWARD, p, tape.dense())
    expected = [program.PRODUCT, program.ROWWISE, program.PRODUCT, program.ROWWISE]
    assert families(tape.fused()) == expected


def test_nothing_runs_on_what_is_no_sum():
    tape = Tape()
    gathered = tape.run.gather(3, program.X)
    tape.run.elementwise(RELU.forward, gathered)
    tape.run.elementwise(RELU.forward, tape.run.rowwise(SOFTMAX_FORWARD, tape.x))
    lines = tape.fused()
    assert families(lines)[:2] == [program.GATHER, program.ELEMENTWISE]
    assert families(lines)[2:] == [program.ROWWISE, program.ELEMENTWISE]


@pytest.mark.parametrize(("operation", "flag"), [(SGD.operation, SCALE), (ADAM.operation, 0)])
def test_an_update_runs_on_both_sums_so_no_gradient_is_stored(operation, flag):
    tape = Tape()
    tape.sums()
    weights, biases = tape.fused(operation)
    assert (weights.family, biases.family) == (program.PRODUCT, program.COLUMNWISE)
    assert biases.operation is COLUMN_SUM
    for line, start, size in ((weights, 0, 6), (biases, 6, 2)):
        assert line.then is operation
        assert line.flags & MOVES
        assert line.out is line.other
        assert (line.out.place, line.out.n) == (Place(program.PARAMETERS, start, 0, 0), size)
        assert line.states.place == Place(program.STATES, start, 0, 0)
    assert weights.flags & SCALE == flag


def test_a_gradient_that_somebody_else_reads_is_stored():
    tape = Tape()
    tape.sums()
    sums = tape.run.gradient_lines
    of_weights = sums[0].out
    sums.append(replace(sums[1], x=of_weights, out=Value(2)))
    update = Recorder.updates(replace(tape.run, gradient_lines=sums[:1]), SGD.operation)[0]
    lines = fused([*sums, update])
    assert lines[0].out is of_weights
    assert lines[0].then is None


def test_an_update_of_what_is_no_sum_is_a_pass_of_its_own():
    tape = Tape()
    tape.sums()
    sums, updates = tape.run.gradient_lines, tape.run.updates(SGD.operation)
    passed = replace(sums[1], family=program.ROWWISE, operation=SOFTMAX_FORWARD)
    assert families(fused([passed, updates[1]])) == [program.ROWWISE, program.UPDATE]


def test_an_activation_does_not_run_on_a_sum_over_rows():
    """Nothing records it; a column sum has no strips that are finished one by one."""
    tape = Tape()
    tape.sums()
    of_biases = tape.run.gradient_lines[1].out
    tape.run.elementwise(RELU.forward, of_biases)
    lines = fused([*tape.run.gradient_lines, *tape.run.lines])
    assert families(lines) == [program.PRODUCT, program.COLUMNWISE, program.ELEMENTWISE]


# --- who wrote a line -----------------------------------------------------------------------------


def training(model):
    return lowering.Lowering(model).training("labels", 8 // model.dtype.itemsize)


def test_each_line_has_its_writers():
    stack = [layers.Dense(64, 20), layers.ReLU(), layers.Dense(20, 10), layers.Softmax()]
    model = layers.Sequential(stack, layers.CategoricalCrossEntropy(), seed=0)
    made = training(model)
    forward, backward, update = (
        lambda *numbers, part=part: tuple(Writer(part, (number,)) for number in numbers)
        for part in ("forward", "backward", "update")
    )
    assert [line.writers for line in made.lines] == [
        (Writer("gather"),),
        (Writer("gather"),),
        forward(0, 1),
        forward(2),
        forward(3),
        (Writer("loss"),),
        backward(3),
        backward(2, 1),
        update(2),
        update(2),
        update(0),
        update(0),
    ]
    assert made.multiply_adds == 2 * 64 * 20 + 3 * 20 * 10
    parts = lowering.split(made)
    assert [line for part in parts for line in part.lines] == list(made.lines)
    assert len(parts[-1].lines) == 4  # all that moves parameters


def test_programs_of_inference_have_writers_too():
    stack = [layers.Dense(64, 20), layers.ReLU(), layers.Dense(20, 10)]
    lowered = lowering.Lowering(layers.Sequential(stack, seed=0))
    forward = [(Writer("forward", (0,)), Writer("forward", (1,))), (Writer("forward", (2,)),)]
    assert [line.writers for line in lowered.scoring().lines] == forward
    found = [line.writers for line in lowered.predicting(2).lines]
    assert found == [*forward, (Writer("predict"),)]
    found = [line.writers for line in lowered.evaluating("labels", 2).lines]
    assert found == [*forward, (Writer("loss"),)]


def test_programs_are_read_only():
    model = layers.Sequential([layers.Dense(64, 20), layers.ReLU(), layers.Dense(20, 10)], seed=0)
    lowered = lowering.Lowering(model)
    whole = training(model)
    made = [whole, *lowering.split(whole), lowered.scoring(), lowered.predicting(2)]
    for each in [*made, lowered.evaluating("rows", 10)]:
        with pytest.raises(ValueError, match="read-only"):
            each.table[0] = 0


# --- layers of the user's own ---------------------------------------------------------------------


class SoftmaxOfReLU(layers.Layer):
    """Two operations forward, three backward: it computes the ReLU once more."""

    gives = "probabilities"

    def run_forward(self, run, x, training):
        return run.rowwise(SOFTMAX_FORWARD, run.elementwise(RELU.forward, x))

    def run_backward(self, run, x, y, dy, needs_inputs):
        kept = run.elementwise(RELU.forward, x)
        return run.elementwise(RELU.backward, kept, run.rowwise(SOFTMAX_BACKWARD, y, dy))


class Bottleneck(layers.Layer):
    """Through a few numbers and back: four parameters, two products forward, five backward."""

    gives = "scores"

    def __init__(self, n_in, n_out, width=5):
        self.n_in, self.n_out, self.width = n_in, n_out, width

    def parameter_shapes(self):
        return {
            "into": (self.n_in, self.width),
            "in_biases": (1, self.width),
            "out_of": (self.width, self.n_out),
            "out_biases": (1, self.n_out),
        }

    def parameters(self):
        return self._parameters

    def bind(self, parameters, gradients, default, key, index):
        self._parameters, self._gradients = parameters, gradients
        for number, array in enumerate(parameters.values()):
            array[...] = np.sin(np.arange(array.size) + number).reshape(array.shape)

    def run_forward(self, run, x, training):
        own = self._parameters
        inside = run.dense_forward(x, own["into"], own["in_biases"])
        return run.dense_forward(inside, own["out_of"], own["out_biases"])

    def run_backward(self, run, x, y, dy, needs_inputs):
        own, found = self._parameters, self._gradients
        inside = run.dense_forward(x, own["into"], own["in_biases"])
        run.dense_backward_parameters(inside, dy, found["out_of"], found["out_biases"])
        back = run.dense_backward_inputs(dy, own["out_of"])
        run.dense_backward_parameters(x, back, found["into"], found["in_biases"])
        return run.dense_backward_inputs(back, own["into"]) if needs_inputs else None


def everything(model, **arguments):
    """What training changes and what the model then says, to the bit."""
    history = model.fit(X, Y, 2, **arguments)
    return [
        model.fingerprint(),
        dict(history),
        model.train_step(X[:19], Y[:19]),
        model.fingerprint(),
        model.evaluate(X, Y),
        model.predict(X).tolist(),
        model.predict_proba(X).tobytes(),
    ]


def own_stack(name):
    return {
        "last": [layers.Dense(64, 10), SoftmaxOfReLU()],
        "first": [SoftmaxOfReLU(), layers.Dense(64, 10)],
        "between": [layers.Dense(64, 12), SoftmaxOfReLU(), layers.Dense(12, 10)],
        "parameters first": [Bottleneck(64, 12), layers.ReLU(), layers.Dense(12, 10)],
        "parameters last": [layers.Dense(64, 12), layers.ReLU(), Bottleneck(12, 10)],
        "alone": [Bottleneck(64, 10)],
    }[name]


def own_model(name, dtype="float32", optimizer=None):
    stack = own_stack(name)
    loss = layers.CategoricalCrossEntropy() if name == "last" else layers.SoftmaxCrossEntropy()
    return layers.Sequential(stack, loss, optimizer or layers.SGD(0.1), seed=1, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["last", "first", "between", "parameters first", "parameters last", "alone"]
)
def test_a_layer_that_says_its_runs_is_compiled(name, dtype, layer_by_layer):
    together = own_model(name, dtype)
    assert together.obstacle() is None
    found = everything(together)
    layer_by_layer()
    apart = own_model(name, dtype)
    assert apart.obstacle() == "for a test"
    assert everything(apart) == found


def test_a_layer_that_overrides_a_pass_as_well_runs_layer_by_layer():
    class Counts(SoftmaxOfReLU):
        seen = 0

        def forward(self, x, training=False):
            Counts.seen += 1
            return super().forward(x, training)

    model = layers.Sequential([layers.Dense(64, 10), Counts(), layers.Dense(10, 10)], seed=1)
    assert model.obstacle() == "layer 1 is a Counts of your own"
    model.train_step(X, Y)
    assert Counts.seen == 1


WRONG = {
    "a copy of a parameter": (
        lambda own, run, x: run.dense_forward(x, own["into"].copy(), own["in_biases"]),
        ValueError,
        "layer 1, forward: an array is not in its model's buffers, expected one that `bind`",
    ),
    "a transposed parameter": (
        lambda own, run, x: run.dense_forward(x, own["out_of"].T, own["in_biases"]),
        ValueError,
        "layer 1, forward: an array is not C-contiguous, expected a whole parameter",
    ),
    "another width": (
        lambda own, run, x: run.dense_forward(x, own["out_of"], own["out_biases"]),
        ValueError,
        "layer 1, forward: run.dense_forward: x has 10 numbers a row, expected 5",
    ),
    "biases of another width": (
        lambda own, run, x: run.dense_forward(x, own["into"], own["out_biases"]),
        ValueError,
        "layer 1, forward: run.dense_forward: biases has shape (1, 10), expected (1, 5)",
    ),
    "gradients of another width": (
        lambda own, run, x: run.elementwise(
            RELU.backward, x, run.dense_forward(x, own["into"], own["in_biases"])
        ),
        ValueError,
        "layer 1, forward: run.elementwise: dy has 5 numbers a row, expected 10",
    ),
    "something else": (
        lambda own, run, x: run.rowwise(SOFTMAX_FORWARD, None),
        TypeError,
        "layer 1, forward: run.rowwise: x is None, expected what a run has given",
    ),
    "an array": (
        lambda own, run, x: run.elementwise(RELU.forward, np.ones((3, 10), np.float32)),
        TypeError,
        "layer 1, forward: run.elementwise: x is a ndarray, expected what a run has given",
    ),
    "nothing returned": (
        lambda own, run, x: None,
        TypeError,
        "layer 1, forward: run_forward has returned None, expected what a run's methods give",
    ),
    "too few numbers returned": (
        lambda own, run, x: run.dense_forward(x, own["into"], own["in_biases"]),
        ValueError,
        "layer 1, forward: run_forward has returned 5 numbers a row, expected 10",
    ),
}


@pytest.mark.parametrize(("forward", "error", "message"), WRONG.values(), ids=WRONG)
def test_what_a_layer_says_has_to_fit(forward, error, message):
    """Compiled code looks at no sizes."""

    class Wrong(Bottleneck):
        def run_forward(self, run, x, training):
            return forward(self._parameters, run, x)

    model = layers.Sequential([layers.Dense(64, 10), Wrong(10, 10)], seed=0)
    for call in (lambda: model.predict(X), lambda: model.fit(X, Y), lambda: model.evaluate(X, Y)):
        with pytest.raises(error, match=f"^{re.escape(message)}"):
            call()


def test_a_gradient_that_is_not_returned_is_missed():
    class Forgets(SoftmaxOfReLU):
        def run_backward(self, run, x, y, dy, needs_inputs):
            super().run_backward(run, x, y, dy, needs_inputs)

    model = layers.Sequential([layers.Dense(64, 10), Forgets(), layers.Dense(10, 10)], seed=0)
    with pytest.raises(TypeError, match=r"^layer 1, backward: run_backward has returned None, exp"):
        model.fit(X, Y)


def test_numbers_of_an_optimizer_are_read_at_each_step():
    class InPlace(layers.SGD):
        given = np.zeros((1, 1))

        def numbers(self, first, steps, dtype):
            self.given[...] = self.learning_rate
            return self.given

    def trained(kind):
        model = layers.Sequential([layers.Dense(64, 10)], None, kind(0.1), seed=0)
        for rate in (0.1, 0.1, 0.2, 0.3):
            model.optimizer.learning_rate = rate
            model.train_step(X[:16], Y[:16])
        return model.fingerprint()

    assert trained(InPlace) == trained(layers.SGD)


# --- states of an optimizer -----------------------------------------------------------------------


def with_adam():
    stack = [layers.Dense(64, 12), layers.ReLU(), layers.Dense(12, 10)]
    return layers.Sequential(stack, optimizer=layers.Adam(0.01), seed=1)


def test_an_optimizer_with_states_has_the_bits_of_the_eager_path(layer_by_layer):
    together = with_adam()
    assert together.obstacle() is None
    found = everything(together)
    states = together._buffers.states.copy()
    assert np.count_nonzero(states) > 500
    layer_by_layer()
    apart = with_adam()
    assert everything(apart) == found
    assert np.array_equal(apart._buffers.states, states)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_of_a_model_keeps_states_and_steps(copied):
    model = with_adam()
    model.fit(X, Y)
    other = copied(model)
    assert np.array_equal(other._buffers.states, model._buffers.states)
    assert not np.shares_memory(other._buffers.states, model._buffers.states)
    for each in (model, other):
        each.fit(X, Y)
    assert other.fingerprint() == model.fingerprint()
    assert np.array_equal(other._buffers.states, model._buffers.states)


def test_another_optimizer_starts_from_its_first_step():
    model = with_adam()
    model.fit(X, Y)
    other = with_adam()
    for name, array in other.parameters().items():
        array[...] = model.parameters()[name]
    model.optimizer = layers.Adam(0.01)
    assert not model._buffers.states.any()
    assert model.train_step(X, Y) == other.train_step(X, Y)
    assert model.fingerprint() == other.fingerprint()


def test_a_saved_state_goes_on_where_it_was(tmp_path):
    model = with_adam()
    model.fit(X, Y)
    model.save(tmp_path / "model.npz")
    loaded = layers.load(tmp_path / "model.npz")
    assert np.array_equal(loaded._buffers.states, model._buffers.states)
    for each in (model, loaded):
        each.fit(X, Y)
    assert loaded.fingerprint() == model.fingerprint()


def test_without_a_saved_state_an_optimizer_starts_from_its_first_step(tmp_path):
    model = with_adam()
    model.fit(X, Y)
    model.save(tmp_path / "model.npz", optimizer_state=False)
    loaded = layers.load(tmp_path / "model.npz")
    assert not loaded._buffers.states.any()
    model.optimizer = layers.Adam(0.01)
    for each in (model, loaded):
        each.fit(X, Y)
    assert loaded.fingerprint() == model.fingerprint()


def test_a_file_without_the_states_that_it_speaks_of_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "_states", lambda model: {})
    with_adam().save(tmp_path / "model.npz")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"^layers\.load: .*optimizer\.0\.0\.weights"):
        layers.load(tmp_path / "model.npz")


def test_a_state_of_an_optimizer_without_any_is_no_state(tmp_path):
    model = layers.Sequential([layers.Dense(64, 10)], seed=0)
    model.fit(X, Y)
    for name, state in (("with", True), ("without", False)):
        model.save(tmp_path / name, optimizer_state=state)
        assert layers.load(tmp_path / name).fingerprint() == model.fingerprint()
