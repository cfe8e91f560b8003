"""Models to ONNX and back, and ONNX's own cases."""

import copy
import functools
import importlib

import numpy as np
import pytest

import layers
from tests.layers.test_exchanged import WITHIN

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

RNG = np.random.default_rng(0)
X = RNG.normal(size=(36, 6)).astype(np.float32)
Y = np.arange(36) % 3


def run(path, x=X) -> dict[str, np.ndarray]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": x}), strict=True))


def trained(*stack, loss=None, y=Y, **arguments) -> layers.Sequential:
    model = layers.Sequential(list(stack), loss, seed=3, **arguments)
    for layer in model.layers:
        if isinstance(layer, layers.Standardize):
            layer.adapt(X)
    model.fit(X, y, 2)
    return model


@pytest.fixture(autouse=True)
def without_compiling():
    with layers.backend("numpy"):
        yield


@pytest.mark.parametrize("layer", WITHIN, ids=repr)
def test_each_layer_both_ways(tmp_path, layer):
    path = tmp_path / "net.onnx"
    model = trained(
        layers.Standardize(6), layers.Dense(6, 5), copy.deepcopy(layer), layers.Dense(5, 3)
    )
    model.classes = ["red", "green", "blue"]
    model.save(path)
    given = run(path)
    np.testing.assert_allclose(given["probabilities"], model.predict_proba(X), rtol=1e-5, atol=1e-6)
    assert given["label"].tolist() == [model.classes[c] for c in model.predict(X)]
    back = layers.load(path)
    assert repr(back.layers) == repr(model.layers)
    assert back.fingerprint() == model.fingerprint()
    assert back.classes == model.classes
    assert repr(back.loss) == repr(model.loss)
    again = tmp_path / "again.onnx"
    back.save(again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("stack", "loss", "y"),
    [
        ([layers.Dense(6, 3), layers.Softmax()], layers.CategoricalCrossEntropy(), Y),
        ([layers.Dense(6, 1)], layers.SigmoidCrossEntropy(), Y % 2),
        ([layers.Dense(6, 2)], layers.SigmoidCrossEntropy(), np.stack([Y % 2, Y > 1], axis=1)),
        ([layers.Dense(6, 1), layers.Sigmoid()], layers.BinaryCrossEntropy(), Y % 2),
        ([layers.Dense(6, 2)], layers.Huber(0.5), X[:, :2]),
        ([layers.Dense(6, 2)], layers.Poisson(), abs(X[:, :2])),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_each_kind_of_loss(tmp_path, stack, loss, y):
    path = tmp_path / "net.onnx"
    model = trained(*copy.deepcopy(stack), loss=loss, y=y)
    model.save(path)
    given = run(path)
    if loss.takes == "numbers":
        np.testing.assert_allclose(given["predictions"], model.predict(X), rtol=1e-5, atol=1e-6)
    else:
        expected = model.predict_proba(X)
        np.testing.assert_allclose(given["probabilities"], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(given["label"], model.predict(X))
    back = layers.from_onnx(path)
    assert repr(back.layers) == repr(model.layers)
    assert repr(back.loss) == repr(loss)
    assert back.fingerprint() == model.fingerprint()


def test_names_of_two_classes_of_one_output(tmp_path):
    model = trained(layers.Dense(6, 1), loss=layers.SigmoidCrossEntropy(), y=Y % 2)
    model.classes = ["no", "yes"]
    model.save(tmp_path / "net.onnx")
    expected = [model.classes[label] for label in model.predict(X)]
    assert run(tmp_path / "net.onnx")["label"].tolist() == expected


def test_categories(tmp_path):
    x = np.stack([X[:, 0], Y, X[:, 1], Y % 2], axis=1).astype(np.float32)
    stack = [layers.Embedding(4, [1, 3], [3, 2], 2), layers.Dense(6, 3)]
    model = layers.Sequential(stack, seed=0)
    model.fit(x, Y)
    path = tmp_path / "net.onnx"
    model.save(path)
    expected = model.predict_proba(x)
    np.testing.assert_allclose(run(path, x)["probabilities"], expected, rtol=1e-5, atol=1e-6)
    back = layers.load(path)
    assert repr(back.layers) == repr(model.layers)
    assert back.fingerprint() == model.fingerprint()


def silu(*widths):
    return [layers.SiLU(), layers.Dense(*widths)]


CONTAINERS = {
    "residual": lambda: [layers.Residual([layers.Dense(6, 6, bias=False), layers.ReLU()])],
    "silu first": lambda: [layers.Residual(silu(6, 6)), layers.Residual(silu(6, 6))],
    "nested": lambda: [layers.Residual([layers.Residual([layers.BatchNorm(6)]), layers.Tanh()])],
    "side by side": lambda: [layers.Concatenate([silu(6, 2), [], silu(6, 4)]), layers.Dense(12, 6)],
    "in order": lambda: [layers.Concatenate([layers.Dense(6, 2), layers.Dense(6, 4)])],
    "all kinds": lambda: [
        layers.Concatenate(
            [
                [layers.Residual([layers.Dense(6, 6)]), layers.Dense(6, 2)],
                [layers.Concatenate([[], [layers.Dense(6, 1, bias=False)]])],
                [layers.Dropout(0.5), layers.Residual([layers.LayerNorm(6)])],
            ]
        ),
        layers.Dense(15, 6),
    ],
    "vectors beside numbers": lambda: [
        layers.Concatenate([layers.Embedding(6, [0, 4], [2, 2], 3), layers.Standardize(6)]),
        layers.Dense(16, 6),
    ],
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_branches_both_ways(tmp_path, name):
    path, x = tmp_path / "net.onnx", X.copy()
    x[:, [0, 4]] = x[:, [0, 4]] > 0
    model = layers.Sequential([*CONTAINERS[name](), layers.Dense(6, 3)], seed=1)
    for layer in layers.validation.all_inside(model.layers[0]):
        if isinstance(layer, layers.Standardize):
            layer.adapt(x)
    model.fit(x, Y, 2)
    model.save(path)
    expected = model.predict_proba(x)
    np.testing.assert_allclose(run(path, x)["probabilities"], expected, rtol=1e-5, atol=1e-6)
    back = layers.load(path)
    assert repr(back.layers) == repr(model.layers)
    assert back.fingerprint() == model.fingerprint()


# --- what the columns of a table do ---------------------------------------------------------------

TABLE = {
    "age": 20 + np.arange(60.0) % 17,
    "year": 1990 + np.arange(60.0) ** 2 % 31,
    "class": np.array(["red", "green", "blue"])[np.arange(60) % 3],
    "code": np.array([2, 3, 5])[np.arange(60) % 3],
    "price": 1e3 + 1e3 * np.sin(np.arange(60.0)),
}


def predictor(target, **table):
    made = layers.TabularPredictor(target, [4], 3)
    return made.fit({name: TABLE[name] for name in ("age", "year", target)} | table)


def test_standardisation_and_names_of_classes_are_inside(tmp_path):
    path, raw = tmp_path / "net.onnx", np.stack([TABLE["age"], TABLE["year"]], 1).astype("f4")
    for target in ("class", "code"):
        made = predictor(target)
        made.save(path)
        given, table = run(path, raw), {name: TABLE[name] for name in ("age", "year")}
        assert given["label"].tolist() == made.predict(table).tolist()
        expected = made.predict_proba(table)
        np.testing.assert_allclose(given["probabilities"], expected, rtol=1e-5, atol=1e-6)
        back = layers.load(path)
        assert repr(back.layers[0]) == "Standardize(2)"
        np.testing.assert_allclose(back.predict_proba(raw), expected, rtol=1e-5, atol=1e-6)
        assert back.classes == (None if target == "code" else ("blue", "green", "red"))


def test_a_regression_is_in_the_unit_of_its_target(tmp_path):
    path, raw = tmp_path / "net.onnx", np.stack([TABLE["age"], TABLE["year"]], 1).astype("f4")
    made = predictor("price")
    made.save(path)
    expected = made.predict({name: TABLE[name] for name in ("age", "year")})
    np.testing.assert_allclose(run(path, raw)["predictions"][:, 0], expected, rtol=1e-5)
    back = layers.load(path)
    assert repr(back.layers[0]) == "Standardize(2)"
    assert len(back.layers) == 1 + len(made.model.layers)  # the unit is the last dense layer's
    assert repr(back.loss) == repr(made.model.loss)
    np.testing.assert_allclose(back.predict(raw)[:, 0], expected, rtol=1e-5)
    back.save(path)
    np.testing.assert_allclose(run(path, raw)["predictions"][:, 0], expected, rtol=1e-5)


def test_columns_that_a_graph_cannot_read(tmp_path):
    path = tmp_path / "net.onnx"
    gaps = TABLE["age"].copy()
    gaps[3] = np.nan
    for name, values, words in (
        ("class", TABLE["class"], "'class' is a category: blue, green, red; a graph takes numbers"),
        ("age", gaps, "'age' is a number: .*missing in 1 rows, marked; a graph takes numbers"),
    ):
        made = predictor("price", **{name: values})
        with pytest.raises(ValueError, match=rf"^Sequential.save: column {words}"):
            made.save(path)
        made.model.columns = None
        made.model.save(path)
        assert len(layers.load(path).parameters()) == 4


# --- files of ours that were changed --------------------------------------------------------------


def test_a_changed_file_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    model = trained(layers.Dense(6, 3))
    model.save(path)
    whole = path.read_bytes()
    weights = model.layers[0].weights.tobytes()
    assert whole.count(weights) == 1
    other = (model.layers[0].weights * 2).tobytes()
    for wrong in (
        whole.replace(weights, other),
        whole.replace(b"numba-layers-sha256", b"numba-layers-sha255"),
        whole.replace(b'{"loss"', b'{"lost"'),
    ):
        assert wrong != whole
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"net.onnx: its contents have another checksum than"):
            layers.load(path)
    changed = onnx.load_from_string(whole.replace(weights, other))
    changed.producer_name = "another program"
    del changed.metadata_props[:]
    path.write_bytes(changed.SerializeToString())
    np.testing.assert_array_equal(layers.load(path).layers[0].weights, 2 * model.layers[0].weights)


def test_float64_is_rounded(tmp_path):
    model = trained(layers.Dense(6, 3), dtype="float64")
    model.save(tmp_path / "net.onnx")
    given, expected = run(tmp_path / "net.onnx")["probabilities"], model.predict_proba(X)
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)
    model.layers[0].weights = np.full((6, 3), 1e300)
    with pytest.raises(ValueError, match=r"0.weights holds numbers beyond float32"):
        model.save(tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.parametrize("change", ["axis", "another input", "columns"])
def test_vectors_of_another_form_are_refused(tmp_path, change):
    model = layers.Sequential([layers.Embedding(2, [1], [3], 2), layers.Dense(3, 3)], seed=0)
    path = tmp_path / "net.onnx"
    model.save(path)
    changed = onnx.load(path)
    changed.producer_name = ""
    del changed.metadata_props[:]
    number = next(
        n for n in changed.graph.node if n.name.startswith("0.Gather") and "column" in n.input[1]
    )
    if change == "axis":
        number.attribute[0].i = 0
    elif change == "another input":
        changed.graph.node.insert(0, helper.make_node("Relu", ["x"], ["other"]))
        number.input[0] = "other"
    else:
        next(t for t in changed.graph.initializer if t.name == "0.column.1").CopyFrom(
            numpy_helper.from_array(np.array(0), "0.column.1")
        )
    path.write_bytes(changed.SerializeToString())
    with pytest.raises(ValueError, match="operator Concat: operator 'Gather' in the chain"):
        layers.load(path)


class Own(layers.ReLU):
    pass


@pytest.mark.parametrize("layer", [Own(), layers.Standardize(6)], ids=repr)
def test_what_cannot_be_written(tmp_path, layer):
    model = layers.Sequential([layer, layers.Dense(6, 3)])
    with pytest.raises(ValueError, match=r"^Sequential.save: "):
        model.save(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


# --- graphs of others -----------------------------------------------------------------------------

W, B = RNG.normal(size=(6, 3)).astype(np.float32), np.arange(3, dtype=np.float32)


def graph(path, nodes, constants, outputs=("y",), opset=21, inputs=("x",)):
    def info(name):
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)

    made = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "g",
        [info(name) for name in inputs],
        [info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


GRAPHS = [
    ([("MatMul", ["x", "w"], ["m"]), ("Add", ["m", "b"], ["y"])], {"w": W, "b": B}),
    ([("MatMul", ["x", "w"], ["m"]), ("Add", ["b", "m"], ["y"])], {"w": W, "b": B[None]}),
    ([("Gemm", ["x", "w", "b"], ["y"], {"transB": 1})], {"w": W.T.copy(), "b": B}),
    (
        [("Gemm", ["x", "w", "b"], ["y"], {"alpha": 2.0, "beta": 0.5})],
        {"w": W / 2, "b": B * 2},
    ),
    (
        [("Flatten", ["x"], ["f"]), ("Gemm", ["f", "w", "b"], ["g"]), ("Identity", ["g"], ["y"])],
        {"w": W, "b": B},
    ),
]


@pytest.mark.parametrize(("nodes", "constants"), GRAPHS)
def test_graphs_of_others(tmp_path, nodes, constants):
    model = layers.load(graph(tmp_path / "net.onnx", nodes, constants))
    assert repr(model.layers) == "(Dense(6, 3),)"
    np.testing.assert_array_equal(model.layers[0].weights, W)
    np.testing.assert_array_equal(model.layers[0].biases, B[None])


GEMM = ("Gemm", ["x", "w", "b"], ["g"])
C = np.array([2, 0.5, -1], "f4")
SCALED = [
    ([GEMM, ("Mul", ["g", "c"], ["m"]), ("Add", ["b", "m"], ["y"])], (W * C, B * C + B)),
    ([GEMM, ("Mul", ["c", "g"], ["y"])], (W * C, B * C)),
    (
        [("MatMul", ["x", "w"], ["g"]), ("Mul", ["g", "c"], ["m"]), ("Add", ["m", "b"], ["y"])],
        (W * C, B),
    ),
]


@pytest.mark.parametrize(("nodes", "expected"), SCALED)
def test_a_factor_after_a_dense_layer_is_part_of_it(tmp_path, nodes, expected):
    path = graph(tmp_path / "net.onnx", nodes, {"w": W, "b": B, "c": C})
    model = layers.load(path)
    assert repr(model.layers) == "(Dense(6, 3),)"
    np.testing.assert_array_equal(model.layers[0].weights, expected[0])
    np.testing.assert_array_equal(model.layers[0].biases[0], expected[1])
    np.testing.assert_allclose(run(path)["y"], model.forward(X), rtol=1e-5, atol=1e-6)


REFUSED = [
    ([GEMM, ("Conv", ["g", "w"], ["y"])], {}, "operator 'Conv' in the chain has no layer here"),
    ([GEMM, ("Relu", ["g"], ["h"]), ("Mul", ["g", "h"], ["y"])], {}, "'(Relu|Mul)' after the sc"),
    ([GEMM, ("Softmax", ["g"], ["y"], {"axis": 0})], {}, "operator Softmax: axis is 0, expected 1"),
    ([GEMM, ("Selu", ["g"], ["y"], {"alpha": 1.0})], {}, "operator Selu: alpha is 1 "),
    ([("Gemm", ["x", "w", "b"], ["y"], {"transA": 1})], {}, "operator Gemm: transA is 1"),
    ([("Gemm", ["x", "v", "b"], ["y"])], {}, "operator Gemm: input 1 is 'v', expected a constant"),
    ([("Gemm", ["x", "b", "b"], ["y"])], {}, r"operator Gemm: 'b' has shape \(3,\)"),
    ([("Gemm", ["x", "w", "x"], ["y"])], {}, "operator Gemm: input 2 is 'x', expected a constant"),
    ([GEMM, ("Relu", ["g"], ["h"]), ("Mul", ["h", "b"], ["y"])], {}, "expected a Gemm before it"),
    ([GEMM, ("Mul", ["g", "g"], ["y"])], {}, "operator Mul: input 1 is 'g', expected a constant"),
    (
        [GEMM, ("Mul", ["g", "c"], ["y"])],
        {"c": np.ones(1, "f4")},
        r"its constants have shapes \(1,\) and \(1,\), expected \(3,\)",
    ),
    ([("Sub", ["x", "b"], ["y"])], {}, "operator Sub: no Div follows it"),
    ([("Identity", ["x"], ["y"])], {}, "no operator that is a layer"),
    ([("Gemm", ["x", "w", "c"], ["y"])], {"c": np.zeros(2, "f4")}, "its biases have shape"),
    ([GEMM, ("Identity", ["g"], ["x"])], {}, "circle"),
    ([GEMM, ("Relu", ["g"], [])], {}, "operator 'Relu' gives nothing, expected an output"),
    ([("Gemm", ["x", "i", "b"], ["y"])], {"i": np.zeros((6, 3), "i4")}, "has the data type 6, exp"),
    (
        [GEMM, ("Relu", ["g"], ["h"]), ("Tanh", ["g"], ["k"]), ("Add", ["h", "k"], ["y"])],
        {},
        "operator Add: it adds two branches",
    ),
    (
        [GEMM, ("Relu", ["g"], ["h"]), ("Concat", ["g", "h"], ["y"], {"axis": 0})],
        {},
        "operator Concat: axis is 0, expected 1",
    ),
    (
        [GEMM, ("Relu", ["g"], ["h"]), ("Conv", ["h", "w"], ["k"]), ("Add", ["g", "k"], ["y"])],
        {},
        "operator Add: operator 'Conv' in the chain has no layer here",
    ),
]


@pytest.mark.parametrize(("nodes", "more", "message"), REFUSED)
def test_graphs_that_are_refused(tmp_path, nodes, more, message):
    path = graph(tmp_path / "net.onnx", nodes, {"w": W, "b": B} | more)
    with pytest.raises(ValueError, match=rf"^layers.from_onnx: .*net.onnx: .*{message}"):
        layers.load(path)


def test_an_output_beside_the_chain_is_refused(tmp_path):
    nodes = [
        GEMM,
        ("Relu", ["g"], ["h"]),
        ("Add", ["g", "h"], ["y"]),
        ("Tanh", ["h"], ["other"]),
    ]
    path = tmp_path / "net.onnx"
    with pytest.raises(ValueError, match="operator 'Tanh' beside the chain has no layer here"):
        layers.load(graph(path, nodes, {"w": W, "b": B}, ("y", "other")))
    back = layers.load(graph(path, nodes, {"w": W, "b": B}))  # nothing needs it
    assert repr(back.layers) == "(Dense(6, 3), Residual([ReLU()]))"


def test_forms_that_are_refused(tmp_path):
    constants, path = {"w": W, "b": B}, tmp_path / "net.onnx"
    with pytest.raises(ValueError, match=r"operators are of version \[9\], expected 13"):
        layers.load(graph(path, [GEMM], constants, ("g",), opset=9))
    with pytest.raises(ValueError, match="the graph has 2 inputs, expected one"):
        layers.load(graph(path, [GEMM], constants, ("g",), inputs=("x", "z")))
    path.write_bytes(b"\x00\x01nothing")
    with pytest.raises(ValueError, match=r"not a whole \.onnx file"):
        layers.load(path)


def test_nothing_outside_the_file_is_read(tmp_path):
    (tmp_path / "secret").write_bytes(W.tobytes())
    path = graph(tmp_path / "net.onnx", [GEMM], {"w": W, "b": B}, ("g",))
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="'w' lies in another file"):
        layers.load(path)


# --- ONNX's own cases -----------------------------------------------------------------------------

MODULES = {
    "sce": "softmax_cross_entropy_loss",
    "nesterov": "momentum",
}


@functools.cache
def cases_of(module: str) -> dict:
    """What ONNX's own module of an operator says: name, then node, inputs and outputs."""
    found = importlib.import_module(f"onnx.backend.test.case.node.{module}")
    seen, before = {}, found.expect

    def expect(node, inputs, outputs, name, **_):
        seen[name.removeprefix("test_")] = node, inputs, outputs

    found.expect = expect
    try:
        for kind in vars(found).values():
            if isinstance(kind, type) and kind.__module__ == found.__name__:
                for name in sorted(vars(kind)):
                    if name.startswith("export"):
                        np.random.seed(0)  # noqa: NPY002 - their cases draw from it
                        getattr(kind, name)()
    finally:
        found.expect = before
    return seen


def case(name):
    """Attributes, inputs and outputs of a case."""
    first = name.partition("_")[0]
    node, inputs, outputs = cases_of(MODULES.get(first, first))[name]
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return attributes, inputs, outputs


ELEMENTWISE = {
    "relu": lambda a: layers.ReLU(),
    "leakyrelu": lambda a: layers.LeakyReLU(a["alpha"]),
    "leakyrelu_default": lambda a: layers.LeakyReLU(),
    "elu": lambda a: layers.ELU(a["alpha"]),
    "elu_default": lambda a: layers.ELU(),
    "selu_default": lambda a: layers.SELU(),
    "gelu_default_1": lambda a: layers.GELU(),
    "gelu_default_2": lambda a: layers.GELU(),
    "gelu_tanh_1": lambda a: layers.GELU("tanh"),
    "gelu_tanh_2": lambda a: layers.GELU("tanh"),
    "sigmoid": lambda a: layers.Sigmoid(),
    "tanh": lambda a: layers.Tanh(),
    "softplus": lambda a: layers.Softplus(),
    "softmax_example": lambda a: layers.Softmax(),
    "softmax_large_number": lambda a: layers.Softmax(),
    "softmax_axis_2": lambda a: layers.Softmax(),
    "logsoftmax_example_1": lambda a: layers.LogSoftmax(),
    "logsoftmax_large_number": lambda a: layers.LogSoftmax(),
    "logsoftmax_axis_2": lambda a: layers.LogSoftmax(),
}
GEMMS = [
    "default_zero_bias",
    "default_no_bias",
    "default_scalar_bias",
    "default_vector_bias",
    "default_single_elem_vector_bias",
    "default_matrix_bias",
    "transposeA",
    "transposeB",
    "alpha",
    "beta",
    "all_attributes",
]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_onnx_own_cases_of_activations(name):
    attributes, (x,), (expected,) = case(name)
    layer = ELEMENTWISE[name](attributes)
    given = layer.forward(x.reshape(-1, x.shape[-1]))  # all are by number, or by the last axis
    np.testing.assert_allclose(given, expected.reshape(given.shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", GEMMS)
def test_onnx_own_cases_of_gemm(name):
    attributes, inputs, (expected,) = case(f"gemm_{name}")
    x, weights = inputs[:2]
    x = x.T if attributes.get("transA") else x
    weights = weights.T if attributes.get("transB") else weights
    layer = layers.Dense(*weights.shape)
    layer.weights = weights * attributes.get("alpha", 1.0)
    if len(inputs) == 3:
        added = np.broadcast_to(inputs[2] * attributes.get("beta", 1.0), expected.shape)
        layer.biases = added[:1] if np.ptp(added, axis=0).max() == 0 else np.zeros_like(added[:1])
    given = layer.forward(x)
    if len(inputs) == 3 and np.ptp(added, axis=0).max() != 0:
        given = given + added  # a matrix is added, which no dense layer does
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sce_mean", "sce_none", "sce_sum", "sce_mean_log_prob"])
def test_onnx_own_cases_of_cross_entropy(name):
    attributes, (scores, labels), outputs = case(name)
    loss, form = layers.SoftmaxCrossEntropy(), attributes["reduction"].decode()
    mean = loss.forward(scores, labels)
    rows = [loss.forward(scores[n : n + 1], labels[n : n + 1]) for n in range(len(labels))]
    given = {"mean": mean, "none": rows, "sum": sum(rows)}[form]
    np.testing.assert_allclose(given, outputs[0], rtol=1e-5, atol=1e-6)
    if len(outputs) == 2:
        np.testing.assert_allclose(layers.LogSoftmax().forward(scores), outputs[1], rtol=1e-5)


def optimizer_of(name, a, rate, step):
    more = {"weight_decay": float(a["norm_coefficient"])}
    if name == "adagrad":
        return layers.Adagrad(rate / (1 + step * a["decay_factor"]), a["epsilon"], **more)
    if name == "adam":
        # At step 0 ONNX corrects nothing, and epsilon never; ours counts that step as the first.
        beta1, beta2 = a["alpha"], a["beta"]
        first, root = 1 - beta1, np.sqrt(1 - beta2)
        return layers.Adam(rate * first / root, beta1, beta2, a["epsilon"] / root, **more)
    return layers.SGD(rate, a["alpha"], a["mode"] == b"nesterov", **more)


@pytest.mark.parametrize("name", ["momentum", "nesterov_momentum", "adagrad", "adam"])
def test_onnx_own_cases_of_optimizers(name):
    attributes, inputs, outputs = case(name)
    rate, step = float(inputs[0]), int(inputs[1])
    assert step == 0
    w, g, *kept = (np.array(each, np.float32).reshape(1, -1) for each in inputs[2:])
    state = np.concatenate(kept)
    optimizer_of(name, attributes, rate, step).update(w, g, state, step)
    for given, expected in zip([w[0], *state], outputs, strict=True):
        np.testing.assert_allclose(given, expected.ravel(), rtol=1e-5, atol=1e-6)
