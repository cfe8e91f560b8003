"""The same bits on any number of threads, on either path, on AVX2 and on AVX-512.

Each configuration is a separate process, which runs this file as a script. It calls every kernel on
fixed inputs, made of integers, and prints a hash of each kernel's results. The inputs follow from
the kernels' contracts: a new kernel needs only its line in FINGERPRINTS.
"""

import concurrent.futures
import functools
import hashlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding
import numba
import numpy as np
import pytest

from kernels.intrinsics.cpu import instruction_set
from kernels.product.flags import OTHER
from kernels.product.matmul import product, small_product
from kernels.runtime import cache, jit
from tests.kernels.doors import path_of
from tests.kernels.operations import every_operation, states_by_name
from tests.kernels.product_flags import IN_REGISTERS, PLAIN_FLAGS

# The first test waits for the processes of all configurations.
pytestmark = [pytest.mark.compiled, pytest.mark.long, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
DTYPES = (np.float32, np.float64)
SECONDS = 600

# What each kernel returns in float32 and in float64, everywhere and always. CONTRIBUTING.md says
# when a line may change; `PYTHONPATH=. python tests/kernels/test_bits.py bare` prints them.
FINGERPRINTS = {
    "absolute_error_gradient": "e81d0d9ea53d d4d7b68ff44b",
    "accuracy": "05afd8fa86c4 05afd8fa86c4",
    "adagrad_update": "6e2c26ffb4a9 c884709be63e",
    "adam_decay_update": "01ba15dc2b63 585751bcdee3",
    "adam_update": "8bc23298c37e 33a8a67ebae2",
    "add": "53568cdfea95 2a02379ba7fc",
    "argmax_rows": "342cdb0a4790 342cdb0a4790",
    "batch_norm_backward": "c8754ae5281d 934206f6c544",
    "batch_norm_forward": "adbb6441bca6 f5a6b09a792e",
    "batch_norm_running": "de3a32908133 e783ed9abbd3",
    "batch_norm_statistics": "292ac5480360 54f685a94832",
    "batch_norm_sums": "50c78622c15d 19cf6b73ad79",
    "binary_cross_entropy_gradient": "3c81ac72b5c7 cf128d9281af",
    "column_products": "de7db475bd69 ebe1ad216486",
    "clip_by_norm": "0fd01f19c175 603a27b260ea",
    "clip_by_value": "06ae58f683b7 754fc5e7fa06",
    "column_sum": "b25c5f64d90c f4b6af51300c",
    "count_correct": "860df9627ab7 860df9627ab7",
    "cross_entropy": "b4c87809ecfc 5c813dbef052",
    "cross_entropy_backward": "11441f7ee075 78d70f1a069f",
    "cross_entropy_gradient": "494a32a6b4e3 4df7c78916cd",
    "cross_entropy_rows": "370c7ccecda1 88491145bb12",
    "dense_backward_inputs": "0ec9169af490 584b58cf302f",
    "dense_backward_parameters": "11787ba00c05 559deb17cdd9",
    "dense_backward_weights": "17f1ec9c1e11 9004050b635c",
    "dense_forward": "b87873494346 828216145903",
    "dense_relu_backward_inputs": "b04f77219df5 55572277906e",
    "dense_relu_forward": "744fac60e245 043f9e7be1bb",
    "dense_sgd_update": "811041ae0b8c 7c665030a73c",
    "dropout": "238a7b18ca4f 6ef3ac0e1a33",
    "elu_backward": "ef88ea8ad72b a9777b74f508",
    "elu_forward": "401f903e5a8e af376619f7ea",
    "erf": "614829bbd2dd 77775b8f8ed4",
    "exp": "e4d2a6ee095b ef5bd786d6a3",
    "expm1": "8e9e995f85fe a4c67fea341f",
    "f1_score": "6f70bc31d8fb e601cbe46338",
    "gather_rows": "36f1e53e9c70 f309d4fe6cf9",
    "gelu_backward": "43b34bca39ca 5f9272f5cf33",
    "gelu_forward": "d6968b4e899b 4294024dd8fd",
    "gelu_tanh_backward": "526886187761 d915dbffc37b",
    "gelu_tanh_forward": "1e14e780a121 0ef613d505b4",
    "huber_gradient": "4002906fc0d9 1ef952925edf",
    "layer_norm_backward": "fd29bbe2679c 1a308b421fa5",
    "layer_norm_forward": "2e262b3ec853 70a02cd2ac52",
    "layer_norm_normalized": "9ee8d06622c0 a65f6c421331",
    "leaky_relu_backward": "bb5ec0a14b61 ab2e48b48310",
    "leaky_relu_forward": "0125505b2c6e 70a0207c1a73",
    "lion_update": "64b959e43aa1 c6880122414c",
    "log": "7c4fa4bf3303 c6fee7b4c6d1",
    "log_softmax_backward": "bf09e3e9d172 67a41721d389",
    "log_softmax_forward": "0daf0f9dcff8 6ad5f6f71db6",
    "matmul": "95d82b9ec22d a216723b1370",
    "mean_loss": "feed8d236d0c 790ef3f702bc",
    "momentum_update": "99781670c27f 1584097076c8",
    "penalty_gradient": "fcef1782bf46 48bcc7578920",
    "permutation": "8f3f95f71e9c 8f3f95f71e9c",
    "poisson_gradient": "f36adaf7cabd 21cf69e5fec8",
    "product": "aa932964ff7c 423d4df2d399",
    "quantile_gradient": "be961a7f3d58 2f24426c74d3",
    "r2_score": "ce8881c12f92 c83eba1d15f7",
    "relu_backward": "440599a169c3 7e7508753055",
    "relu_forward": "fd12e12c9e3b ba0ea199c6ea",
    "rmsprop_update": "4b6b16c00ee0 07be7ebb6b92",
    "row_norms": "e978c8c8cd80 32e98d2101c5",
    "row_penalties": "d9c2300702fe f4cb93b9b9fe",
    "running_statistics_update": "173276903991 cc5bf6526414",
    "selu_backward": "d127a60a2c8f 2681fca81a1c",
    "selu_forward": "0a5a3d4b9885 e766c7f386da",
    "sgd_decay_update": "70b2ddd5fe94 7ad809d5e116",
    "sgd_update": "c06986d44c86 48ec875244f3",
    "sigmoid_backward": "501303c75173 4595e553f511",
    "sigmoid_cross_entropy_gradient": "33ee139ba730 5c81a1fda537",
    "sigmoid_forward": "21307c6ba084 354944313f76",
    "silu_backward": "df69dd553831 23ef0efc5885",
    "silu_forward": "74f234291f1d eac0d80ece1f",
    "small_product": "f4befa04db61 3d169361dc4d",
    "smoothed_cross_entropy_gradient": "8be4fd5627f8 70a3e656f3b2",
    "softmax_backward": "7ff2d6988002 ee091c2215f7",
    "softmax_cross_entropy": "3bffa534c5af 94932531fed0",
    "softmax_cross_entropy_gradient": "3f6ea7c458fd 9df0b67f4071",
    "softmax_forward": "675efee12706 2184a5e01ae7",
    "softmax_minus_target": "834f5fd111e3 519850f4b7ce",
    "softplus_backward": "cfe97132df72 e4380f20aba7",
    "softplus_forward": "0583f2e78cd1 8e972939c98e",
    "squared_error_gradient": "fb7994e2454f e6d4186548aa",
    "standardize_backward": "bc5eb97e10d9 ad6d92c67913",
    "standardize_forward": "cd4eb2b61fff 3818bae2ffcd",
    "standardize_statistics": "8fd275e73eb3 21ac25e130b1",
    "tanh": "c2513a13a0d8 6b44da6bf0f7",
    "tanh_backward": "a61479e8a1f7 5a00341224c7",
    "tanh_forward": "c2513a13a0d8 6b44da6bf0f7",
    "top_k_rows": "abbdb52880a1 37930b8306ac",
    "uniform": "8d8875c5a84a a4f0ba05aea4",
    "weighted_mean": "d074dac92a26 e248a114e161",
    "weighted_rows": "1ffb0272ab8c b2a56a6c020d",
}

# Odd sizes, so that tiles and vectors have edges; more than one chain of 4,096 terms, more than one
# block of elements; enough work for two threads.
SIZES = {"m": 70, "n": 101, "k": 4999, "batch": 4999, "n_in": 37, "n_out": 53, "n_classes": 37}
SIZES |= {"q": 50_021}
OTHER_SIZES = {
    "gather_rows": {"k": 61},  # its out is (batch, k)
    **{name: {"s": states} for name, states in states_by_name().items()},
    # Square, since flags transpose; B large enough to be packed.
    "product": dict.fromkeys("mnkef", 731),
    "small_product": dict.fromkeys("mnk", 101),
}
ELEMENTS = 50_021  # where any shape will do
NUMBERS = {"number": 0.1, "low": -0.3, "high": 0.7, "learning_rate": 0.1, "slope": 0.1}
NUMBERS |= {"rate": 0.3, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-3}
NUMBERS |= {"ahead": 0.2, "momentum": 0.9, "alpha": 0.1, "decay": 0.01, "shrink": 0.03}
NUMBERS |= {"l1": 0.01, "l2": 0.03, "limit": 0.7, "max_norm": 0.3}
NUMBERS |= {"delta": 0.7, "label_smoothing": 0.1, "q": 0.3}
NUMBERS |= {"k": 3.0, "scale": 0.7, "threshold": 0.5}


# The part that runs in a process of its own


@functools.cache
def words(seed, count):
    """Numbers of 64 bits: SplitMix64, in whole numbers."""
    x = np.uint64(0x9E3779B97F4A7C15) * (np.arange(1, count + 1, dtype=np.uint64) + (seed << 32))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def numbers(seed, shape, dtype):
    """Numbers in [0, 1), as fine as the dtype has them."""
    digits = np.finfo(dtype).nmant + 1
    u = words(seed, int(np.prod(shape))) >> np.uint64(64 - digits)
    return (u.astype(dtype) * dtype(2.0**-digits)).reshape(shape)


def anything(seed, shape, dtype):
    """Numbers of any magnitude, infinite and denormal ones and NaN; half of them in [-16, 16)."""
    count = int(np.prod(shape))
    bits = words(seed, count)
    wild = bits.view(np.float64) if dtype is np.float64 else bits.astype(np.uint32).view(np.float32)
    tame = numbers(seed + 1, count, dtype) * dtype(32) - dtype(16)
    wild = np.where(np.arange(count) % 2, wild, tame)
    wild[:6] = [0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).smallest_subnormal]
    return wild.reshape(shape)


def made(seed, argument, size_of, dtype, setting):
    """What a kernel takes for one argument of its contract."""
    sizes = [size_of.get(size, size) for size in argument.sizes]
    if argument.swap and setting[argument.swap]:
        sizes.reverse()
    match argument.kind:
        case "matrix" if argument.name == "probabilities":
            value = numbers(seed, sizes, dtype) + np.finfo(dtype).tiny
        case "matrix" if argument.name == "states":
            value = numbers(seed, sizes, dtype)
        case "matrix":
            value = numbers(seed, sizes, dtype) * dtype(16) - dtype(8)
        case "any_shape":
            value = anything(seed, (1, ELEMENTS), dtype)
        case "labels" if setting["targets"]:
            classes = size_of[argument.below]
            value = np.floor(numbers(seed, (*sizes, classes), dtype) * 4) / dtype(classes)
        case "labels" | "indices":
            below = np.uint64(size_of.get(argument.below, 1))
            value = (words(seed, sizes[0]) % below).astype(np.int64)
        case "uint64":
            value = words(seed, 1)[0]
        case "number":
            value = NUMBERS[argument.name]
        case "int64" if argument.name == "then":
            value = setting["asked"].address(dtype)
        case "flag" | "int64" | "threads":
            value = setting[argument.name]
    return value


def settings(arguments):
    """Every choice of the flags, and both forms of labels."""
    if any(argument.kind == "threads" for argument in arguments):
        for asked, count in itertools.product(IN_REGISTERS, (1, 3)):
            yield {"asked": asked, "flags": asked.flags, "count": count}
        return
    if any(argument.kind == "int64" for argument in arguments):
        yield from ({"flags": flags} for flags in PLAIN_FLAGS)
        return
    flags = [argument.name for argument in arguments if argument.kind == "flag"]
    flags += ["targets" for argument in arguments if argument.kind == "labels"]
    for choice in itertools.product((False, True), repeat=len(flags)):
        yield dict(zip(flags, choice, strict=True))


def hashed(function, kernel, dtype):
    """SHA-256 of all that a kernel writes and returns; NaN without its sign and payload."""
    digest = hashlib.sha256()
    arguments = kernel.contract.arguments
    size_of = SIZES | OTHER_SIZES.get(kernel.__name__, {})
    for setting in settings(arguments):
        values = [made(seed, a, size_of, dtype, setting) for seed, a in enumerate(arguments)]
        if "count" in setting and not setting["flags"] & OTHER:
            values[2] = values[2][:1]  # the extra operand is biases or column sums: one row
        returned = function(*values)
        if "flags" in setting:
            assert not returned, "refused"
            returned = None
        results = [value for a, value in zip(arguments, values, strict=True) if a.is_output]
        results += [] if returned is None else [np.float64(returned)]
        for result in results:
            if result.dtype.kind == "f":
                result = np.where(np.isnan(result), dtype(np.nan), result)
            digest.update(result.tobytes())
    return digest.hexdigest()[:12]


def without_count(function, *values):
    """Without the number of threads, which a kernel's bare form finds itself."""
    return function(*values[:-1])


def report(*paths, names=()):
    """Hashes of all kernels by path, or of those named, and what the process ran on."""
    hashes = {}
    # What runs an operation, or a program of them, is called by these.
    every = {*jit.PUBLIC.values(), product, small_product}
    for kernel in sorted(every, key=lambda kernel: kernel.__name__):
        if names and kernel.__name__ not in names:
            continue
        for path in paths:
            function = kernel.bare if path == "bare" else path_of(kernel, path)
            if path == "bare" and kernel.contract.arguments[-1].kind == "threads":
                function = functools.partial(without_count, function)
            if function is not None:
                both = [hashed(function, kernel, dtype) for dtype in DTYPES]
                hashes.setdefault(kernel.__name__, {})[path] = " ".join(both)
    return {
        "hashes": hashes,
        "threads": numba.config.NUMBA_NUM_THREADS,
        "instruction set": instruction_set(),
        "registers": registers_by_kernel() if cache.counts().loaded == 0 else None,
    }


def registers_by_kernel():
    """The kinds of vector registers in each serial twin and each operation.

    Only fresh compilation shows them.
    """
    codes = {kernel.__name__: kernel.serial.dispatcher for kernel in jit.COMPILED}
    codes |= {each.name: each._code.dispatcher for each in every_operation() if each._code}
    found = {}
    for name, code in codes.items():
        assembly = "".join(code.inspect_asm().values())
        found[name] = [kind for kind in ("xmm", "ymm", "zmm") if f"%{kind}" in assembly]
    return found


# The tests

HOST = llvmlite.binding.get_host_cpu_features()
HAS_AVX2 = all(HOST.get(feature) for feature in ("avx2", "fma"))
HAS_AVX512 = all(HOST.get(f"avx512{kind}") for kind in ("f", "bw", "cd", "dq", "vl"))

ALL = ("bare", "serial", "parallel")


class Configuration(NamedTuple):
    paths: tuple[str, ...]
    variables: dict[str, str]
    unable: bool = False
    names: tuple[str, ...] = ()


# The empty list of features matters: the name alone keeps all that the host has. AVX2 is without a
# cache, since code that is loaded from one shows no assembly. On a CPU with AVX-512 the host's own
# configurations run every kernel with it; that the name alone is enough shows in the products.
HASWELL = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "", "NUMBA_LAYERS_CACHE_DIR": ""}
SKYLAKE = {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": ""}
CONFIGURATIONS = {
    "AVX2": Configuration(("serial", "parallel"), HASWELL, not HAS_AVX2),
    "AVX-512": Configuration(("serial",), SKYLAKE, not HAS_AVX512, ("matmul", "product")),
    "one thread": Configuration(ALL, {"NUMBA_NUM_THREADS": "1"}),
    "two threads": Configuration(ALL, {"NUMBA_NUM_THREADS": "2"}),
    "four threads": Configuration(ALL, {"NUMBA_NUM_THREADS": "4"}),
}


def where_able(name):
    unable = CONFIGURATIONS[name].unable
    return pytest.param(name, marks=pytest.mark.skipif(unable, reason=f"the CPU has no {name}"))


def run(configuration):
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("NUMBA_LAYERS_") or not name.startswith(("NUMBA_", "OMP_"))
    }
    finished = subprocess.run(
        [sys.executable, __file__, *configuration.paths, *configuration.names],
        env=kept | {"PYTHONPATH": str(ROOT)} | configuration.variables,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return json.loads(finished.stdout)


@pytest.fixture(scope="session")
def reports():
    """A future of each configuration's report; two processes at a time, the slowest first."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        yield {
            name: pool.submit(run, configuration)
            for name, configuration in CONFIGURATIONS.items()
            if not configuration.unable
        }


@pytest.mark.parametrize("name", [*map(where_able, CONFIGURATIONS)])
def test_the_bits_are_the_same_everywhere(reports, name):
    expected = reports["one thread"].result()["hashes"]
    for kernel, by_path in reports[name].result()["hashes"].items():
        assert set(by_path.values()) == {expected[kernel]["bare"]}, kernel


def test_the_bits_are_the_same_as_ever(reports):
    hashes = reports["one thread"].result()["hashes"]
    bits = {kernel: by_path["bare"] for kernel, by_path in hashes.items()}
    assert {kernel: now for kernel, now in bits.items() if now != FINGERPRINTS.get(kernel)} == {}
    assert set(bits) == set(FINGERPRINTS)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_so_many_threads_were_there(reports, threads):
    name = {1: "one thread", 2: "two threads", 4: "four threads"}[threads]
    assert reports[name].result()["threads"] == threads


@pytest.mark.parametrize("name", [where_able("AVX2")])
def test_what_is_compiled_for_avx2_has_no_wider_registers(reports, name):
    found = reports[name].result()
    assert found["instruction set"] == "avx2"
    having = {
        kind: {kernel for kernel, kinds in found["registers"].items() if kind in kinds}
        for kind in ("ymm", "zmm")
    }
    assert having["zmm"] == set()
    assert {"product", "exp", "softmax_forward"} <= having["ymm"]


@pytest.mark.parametrize("name", [where_able("AVX-512")])
def test_what_is_compiled_for_avx512_has_its_tiles(reports, name):
    assert reports[name].result()["instruction set"] == "avx512"


if __name__ == "__main__":
    given = sys.argv[1:]
    paths = [path for path in ALL if path in given] or ALL
    names = [name for name in given if name not in ALL]
    json.dump(report(*paths, names=names), sys.stdout, indent=1)
