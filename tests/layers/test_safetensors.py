"""Parameters in .safetensors files, and parameters by name."""

import json

import numpy as np
import pytest

import layers

safetensors = pytest.importorskip("safetensors")
numpy_side = pytest.importorskip("safetensors.numpy")

RNG = np.random.default_rng(0)


def make(seed=0, dtype="float32") -> layers.Sequential:
    stack = [layers.Dense(6, 5), layers.BatchNorm(5), layers.ReLU(), layers.Dense(5, 3)]
    return layers.Sequential(stack, layers.SoftmaxCrossEntropy(0.1), seed=seed, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_ways(tmp_path, dtype):
    path, model = tmp_path / "net.safetensors", make(dtype=dtype)
    model.classes = ["a", "b", "c"]
    model.save(path)
    back = layers.load(path)
    assert back.fingerprint() == model.fingerprint()
    assert (repr(back.layers), repr(back.loss)) == (repr(model.layers), repr(model.loss))
    assert (back.classes, back.dtype) == (model.classes, model.dtype)
    read = numpy_side.load_file(path)
    assert set(read) == set(model.parameters() | model.statistics())
    np.testing.assert_array_equal(read["0.weights"], model.layers[0].weights)
    other = make(1, dtype)
    other.load_parameters(path)
    assert other.fingerprint() == model.fingerprint()


def test_arrays_that_do_not_lie_in_c_order(tmp_path):
    class Turned(layers.Dense):
        def parameters(self):
            return super().parameters()

    model = make()
    path = tmp_path / "net.safetensors"
    turned = {name: np.asfortranarray(array) for name, array in model.parameters().items()}
    model.parameters = lambda: turned
    model.save(path)
    np.testing.assert_array_equal(numpy_side.load_file(path)["0.weights"], turned["0.weights"])


def test_a_class_of_your_own(tmp_path):
    class Own(layers.ReLU):
        pass

    path = tmp_path / "net.safetensors"
    model = layers.Sequential([layers.Dense(6, 3), Own()], seed=0)
    model.save(path)
    with pytest.raises(ValueError, match="'Own' is a class of your own, expected it in custom"):
        layers.load(path)
    assert layers.load(path, custom=[Own]).fingerprint() == model.fingerprint()


def test_what_is_damaged_or_foreign(tmp_path):
    path, model = tmp_path / "net.safetensors", make()
    model.save(path)
    whole = path.read_bytes()
    arrays = numpy_side.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()

    def refused(message):
        with pytest.raises(ValueError, match=rf"^layers.load: .*net.safetensors.*{message}"):
            layers.load(path)

    path.write_bytes(whole[:-1])
    refused("not a whole")
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused("another checksum")
    numpy_side.save_file(arrays, path)
    refused("no architecture of ours, .*load_parameters")
    numpy_side.save_file(arrays | {"more": np.zeros(1)}, path, metadata)
    refused("holds the arrays")
    numpy_side.save_file(arrays | {"0.biases": np.zeros((1, 5))}, path, metadata)
    refused("0.biases has shape .* and dtype F64, expected .* F32")
    wrong = json.loads(metadata["numba-layers"]) | {"layers": [{"type": "os.system"}]}
    numpy_side.save_file(arrays, path, metadata | {"numba-layers": json.dumps(wrong)})
    refused("'os.system' is unknown")


def test_parameters_from_files_and_mappings(tmp_path):
    model, other = make(), make(1)
    model.save(tmp_path / "net.npz")
    other.load_parameters(tmp_path / "net.npz")
    assert other.fingerprint() == model.fingerprint()
    given = model.parameters() | model.statistics()
    other = make(1)
    other.load_parameters(given)
    assert other.fingerprint() == model.fingerprint()
    before = other.fingerprint()
    for change, error in (({"0.weights": [[1.0]]}, ValueError), ({3: 1.0}, TypeError)):
        with pytest.raises(error, match=r"^Sequential.load_parameters: "):
            other.load_parameters(given | change)
        assert other.fingerprint() == before
