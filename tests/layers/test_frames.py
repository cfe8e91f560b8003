"""Frames of pandas and Polars: nullable numbers, what holds no number, names of columns."""

import copy
import pickle

import numpy as np
import pytest

import layers

pytestmark = pytest.mark.compiled

pandas = pytest.importorskip("pandas")

X = np.random.default_rng(0).normal(size=(60, 2)).astype("float32")
Y = (X[:, 0] > 0).astype("int64")
FRAME = pandas.DataFrame(X, columns=["a", "b"])


def make(loss=None, n_out=2) -> layers.Sequential:
    stack = [layers.Dense(2, 6), layers.ReLU(), layers.Dense(6, n_out)]
    return layers.Sequential(stack, loss, seed=0)


@pytest.mark.parametrize("kind", ["Float64", "Float32"])
def test_nullable_numbers_are_numbers(kind):
    of_array, of_frame = make(), make()
    of_array.fit(X, Y, sample_weight=np.full(60, 2.0))
    weights = pandas.Series(np.full(60, 2.0)).astype(kind)
    of_frame.fit(FRAME.astype(kind), Y, sample_weight=weights)
    assert of_frame.fingerprint() == of_array.fingerprint()
    assert (of_frame.predict(FRAME.astype(kind)) == of_array.predict(X)).all()
    batches = [(FRAME.astype(kind), Y)]
    assert of_frame.evaluate(batches) == of_array.evaluate(X, Y)


def test_nullable_targets():
    given = pandas.Series(X[:, 0].astype("f8")).astype("Float64")
    of_array, of_series = (make(layers.MeanSquaredError(), 1) for _ in range(2))
    of_array.fit(X, X[:, 0])
    of_series.fit(FRAME, given)
    assert of_series.fingerprint() == of_array.fingerprint()
    given[5] = pandas.NA
    with pytest.raises(ValueError, match="row 5 of y"):
        of_series.fit(FRAME, given)


def test_a_missing_number_is_named():
    frame = FRAME.astype("Float64")
    frame.loc[7, "b"] = pandas.NA
    with pytest.raises(layers.NonFiniteLoss, match="row 7 of x holds nan in column 1"):
        make().fit(frame, Y)
    with pytest.raises(ValueError, match="row 7 of x hold NaN"):
        make().predict(frame)


def test_what_is_no_number_is_named():
    frame = FRAME.assign(b=["Paris"] * 60)
    message = r"^Sequential.fit: x has dtype object, and column 'b' holds 'Paris' in row 0, expect"
    with pytest.raises(TypeError, match=message):
        make().fit(frame, Y)
    array = FRAME.to_numpy(object).copy()
    array[3, 1] = None
    with pytest.raises(TypeError, match=r"^Sequential.predict: x .* column 1 holds None in row 3"):
        make().predict(array)
    frame = FRAME.assign(b=pandas.Series(["1"] * 60, dtype="string"))
    with pytest.raises(TypeError, match="column 'b' holds '1' in row 0, expected real numbers"):
        make().fit(frame, Y)


class Loader:
    """Batches, and no array."""

    def __iter__(self):
        return iter([(X, Y)])


def test_what_is_no_array_is_named():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="predict: x is a Loader, expected an array of real"):
        make().predict(Loader())
    with pytest.raises(TypeError, match=r"x is a csr_array, .* \(x.toarray\(\) gives one\)"):
        make().predict(sparse.csr_array(X))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "forward"])
def test_names_are_those_of_fit(method, tmp_path):
    model = make()
    model.fit(FRAME, Y)
    model.save(tmp_path / "model.npz")
    for each in (model, copy.deepcopy(model), layers.load(tmp_path / "model.npz")):
        call = getattr(each, method)
        assert (call(FRAME) == call(X)).all()
        message = rf"^Sequential.{method}: the columns of x are 'b', 'a' .*, expected 'a', 'b', as"
        with pytest.raises(ValueError, match=message):
            call(FRAME[["b", "a"]])
        with pytest.raises(ValueError, match="has the columns 'c', and lacks 'b', expected 'a', "):
            call(FRAME.rename(columns={"b": "c"}))
        with pytest.raises(ValueError, match="x has the columns 'c', expected 'a', 'b'"):
            call(FRAME.assign(c=0.0))
    assert pickle.loads(pickle.dumps(model))._names == ("a", "b")


def test_names_in_fit_and_evaluate():
    model, turned = make(), FRAME[["b", "a"]]
    model.fit(FRAME, Y)
    before = model.fingerprint()
    with pytest.raises(ValueError, match=r"^Sequential.evaluate: the columns of x are 'b', 'a'"):
        model.evaluate(turned, Y)
    with pytest.raises(ValueError, match=r"^Sequential.fit: the columns of x are 'b', 'a'"):
        model.fit(turned, Y)
    with pytest.raises(ValueError, match=r"^Sequential.fit: the columns of validation_data\[0\]"):
        model.fit(FRAME, Y, validation_data=(turned, Y))
    assert model.fingerprint() == before
    new = make()
    with pytest.raises(ValueError, match=r"^Sequential.fit: the columns of validation_data\[0\]"):
        new.fit(FRAME, Y, validation_data=(turned, Y))
    new.fit(turned, Y)  # what was refused has left nothing behind
    model.reset()
    model.fit(turned, Y)
    model.fit(X, Y)
    assert model.predict(pandas.DataFrame(X)).shape == (60,)
    polars = pytest.importorskip("polars")
    with pytest.raises(ValueError, match="the columns of x are 'a', 'b'"):
        model.predict(polars.DataFrame({"a": X[:, 0], "b": X[:, 1]}))


def test_names_in_a_damaged_file(tmp_path):
    model = make()
    model.fit(FRAME, Y)
    model._names = ("a",)
    model.save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"names in its architecture is \['a'\], expected 2 names"):
        layers.load(tmp_path / "model.npz")
