"""No kernel accesses a byte outside its arrays: each array lies next to an inaccessible page.

Kernels index memory through pointers, without bounds checks. Here the page after the end of every
array, or before its start, can be neither read nor written, so that one element too many kills the
process; hence a separate process, which runs this file as a script. The cases follow from the
kernels' contracts: new kernels are included.
"""

import ctypes
import faulthandler
import functools
import itertools
import mmap
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import layers
from kernels.columns import PUT_COLUMNS, TAKE_COLUMNS
from kernels.embedding import EMBEDDING_FORWARD, EMBEDDING_INPUTS, EMBEDDING_WEIGHTS
from kernels.intrinsics import LANES
from kernels.losses_of_labels import LABELS_OF_LOGITS, LABELS_OF_PROBABILITIES
from kernels.metrics import CLASSES
from kernels.network import interpreter, program
from kernels.product.flags import OTHER, TRANSPOSE_A, TRANSPOSE_B
from kernels.product.matmul import product, small_product
from kernels.runtime import jit
from kernels.runtime.families import Counter
from kernels.weights import WEIGHTED_ROWS
from layers.compiled import runner
from layers.compiled.runner import Compiled, Totals
from tests.kernels.doors import path_of
from tests.kernels.operations import (
    call,
    every_operation,
    loss_forms,
    numbers_of,
    states_by_name,
    states_of,
)
from tests.kernels.product_flags import ALL_ASKED, PLAIN_FLAGS

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.skipif(os.name != "posix", reason="mprotect is POSIX"),
]

ROOT = Path(__file__).parents[2]
SIZES = (1, 2, 7, 8, 9, 15, 16, 17, 23, 24, 25, 47, 48, 49, 63, 64, 65)
# One size beyond a chain's 4,096 terms or a block of 4,096 or 16,384 elements, the others small.
LONG, SHORT = (4097, 16_385), (1, 9, 17, 49)

FENCE = 16 * mmap.PAGESIZE  # forbidden on each side: a row too many hits it too
ROOM = (max(LONG) * max(SHORT) * 8 // FENCE + 2) * FENCE
MARGIN = 4096  # bytes looked at on the side of an array that is not against a fence
UNTOUCHED = 0xAB
DTYPES = (np.float32, np.float64)


# The part that runs in a process of its own


class Slot:
    """Room for one array between two fences, at its very start or its very end."""

    def __init__(self):
        memory = mmap.mmap(-1, FENCE + ROOM + FENCE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for fence in (start, start + FENCE + ROOM):
            if protect(fence, FENCE, 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        self.room = np.frombuffer(memory, np.uint8, ROOM, FENCE)
        self.margin = self.room[:0]

    def lay(self, values, at_end):
        size = values.nbytes
        if at_end:
            place, self.margin = self.room[ROOM - size :], self.room[: ROOM - size][-MARGIN:]
        else:
            place, self.margin = self.room[:size], self.room[size:][:MARGIN]
        self.margin[:] = UNTOUCHED
        array = place.view(values.dtype).reshape(values.shape)
        array[...] = values
        return array

    def margin_is_untouched(self):
        return bool((self.margin == UNTOUCHED).all())


def size_names(contract):
    """The sizes that a contract leaves open; any shape is one such size."""
    names = [size for argument in contract.arguments for size in argument.sizes]
    names += [argument.below for argument in contract.arguments if argument.below]
    if any(argument.kind == "any_shape" for argument in contract.arguments):
        names.append("...")
    return sorted({name for name in names if isinstance(name, str)} - set(OF_STATES))


# The sizes of an optimizer's states: their number, and that of the weights.
OF_STATES = ("s", "q")


def size_choices(names):
    for sizes in itertools.product(SIZES, repeat=len(names)):
        yield dict(zip(names, sizes, strict=True))
    for position, long in itertools.product(range(len(names)), LONG):
        for short in itertools.product(SHORT, repeat=len(names) - 1):
            sizes = (*short[:position], long, *short[position:])
            yield dict(zip(names, sizes, strict=True))


def made(argument, sizes, dtype, flags, targets, states):
    """What a kernel takes for one argument of its contract: numbers in (0, 1), valid indices."""
    if argument.sizes == OF_STATES:
        sizes = dict(zip(OF_STATES, (states, sizes["..."]), strict=True))
    shape = tuple(sizes.get(size, size) for size in argument.sizes)
    kind = "targets" if argument.kind == "labels" and targets else argument.kind
    if argument.swap and flags[argument.swap]:
        shape = shape[::-1]
    if kind == "any_shape":
        shape = (1, sizes["..."])
    if kind == "targets":
        shape = (sizes[argument.sizes[0]], sizes[argument.below])
    if kind in ("matrix", "any_shape", "targets"):
        return values_of(shape, dtype)
    if kind in ("labels", "indices"):
        return np.arange(*shape) % sizes.get(argument.below, 1)
    if kind == "numbers":
        return np.full(4, 0.5)
    return {"number": 0.5, "uint64": np.uint64(7), "int64": 3, "flag": flags.get(argument.name)}[
        kind
    ]


def product_cases():
    """The product takes its shapes by flags, and its operands lie packed or as they are."""
    drawn = random.Random(1)
    sizes = [tuple(drawn.choice(SIZES) for _ in range(3)) for _ in range(600)]
    chosen = [(s, drawn.choice(ALL_ASKED), drawn.choice(DTYPES)) for s in sizes]
    # More than one chain; these are few, and the last ones packed: every choice of flags.
    sizes = [(1, 9, 4097), (33, 130, 4100), (35, 701, 770), (35, 101, 257), (33, 70, 101)]
    sizes += [(768, 20, 99), (2, 20, 4100), (33, 512, 600), (7, 50, 4099)]
    # Computed as their transposes, with one row, a few and more.
    sizes += [(50, 1, 40), (77, 3, 33), (61, 10, 5)]
    chosen += itertools.product(sizes, ALL_ASKED, DTYPES)
    twins = ((product.serial, 1), (product.serial, 3), (product.parallel, 2))
    for (m, n, k), asked, dtype in chosen:
        flags = asked.flags
        shapes = (
            (k, m) if flags & TRANSPOSE_A else (m, k),
            (n, k) if flags & TRANSPOSE_B else (k, n),
            (m, n) if flags & OTHER else (1, n),
            (m, n),
        )
        values = [values_of(shape, dtype) for shape in shapes]
        for at_end in (False, True):
            twin, count = drawn.choice(twins)
            place = f"{np.dtype(dtype)} at the {'end' if at_end else 'start'}"
            description = f"{twin.dispatcher.__name__} {place} {m, n, k} {asked}"
            yield description, twin, (*values, 0.5, asked.address(dtype), flags, count), at_end
            if flags in PLAIN_FLAGS:
                a, b, _, out = values
                small = small_product.serial
                yield f"small {description}", small, (a, b, out, flags), at_end


def values_of(shape, dtype):
    return np.linspace(0.1, 0.9, int(np.prod(shape)), dtype=dtype).reshape(shape)


def operation_cases():
    """Each operation by its address, on blocks of every width; rows that lie apart have gaps."""
    drawn = random.Random(3)
    for operation in every_operation():
        arguments = BY_FAMILY[operation.family.name]
        for n, dtype, at_end in itertools.product((*SIZES, 4097), DTYPES, (False, True)):
            for rows in drawn.sample((1, 2, 9, 15, 16, 17, 33), 3):
                given = arguments(operation, rows, n, dtype, drawn)
                place = f"{np.dtype(dtype)} at the {'end' if at_end else 'start'}"
                called = functools.partial(call_on_block, operation, dtype)
                yield f"{operation} {place} rows {rows} n {n}", called, given, at_end


def call_on_block(operation, dtype, *given):
    """Call it; what lies between the rows of what it writes is another thread's."""
    written = []
    if operation.family.name == "elementwise":
        _, _, out, _, n, stride, _ = given
        written = [(out, n, stride)]
    if operation.family.name == "update":
        parameters, _, states, _, _, n, stride, *_ = given
        written = [(array, n, stride) for array in (parameters, *states)]
    gaps = [(array, np.arange(array.size) % stride >= n) for array, n, stride in written]
    before = [array[gap] for array, gap in gaps]
    call(operation, dtype, *given)
    if not all((array[gap] == kept).all() for (array, gap), kept in zip(gaps, before, strict=True)):
        sys.exit("wrote between the rows of a block")


def own_numbers(operation):
    return np.full(numbers_of(operation), 0.5)


def reach(rows, columns, stride):
    """Elements from the first of a block to its last."""
    return (rows - 1) * stride + columns


def elementwise_arguments(operation, rows, n, dtype, drawn):
    stride = n + drawn.choice((0, 1, 16))
    x, dy, out = (values_of((reach(rows, n, stride),), dtype) for _ in range(3))
    return x, dy, out, rows, n, stride, own_numbers(operation)


WIDTH, CATEGORIES = 3, 2


def of_categories(n):
    """The numbers of an embedding whose last column of n is one of categories."""
    passed = [number for column in range(n - 1) for number in (0, 0, column)]
    numbers = [WIDTH, n - 1 + WIDTH, n, CATEGORIES, *passed, CATEGORIES, 0, n - 1]
    return np.array(numbers, np.float64), n - 1 + WIDTH


def rowwise_arguments(operation, rows, n, dtype, drawn):
    if operation in (EMBEDDING_FORWARD, EMBEDDING_INPUTS):
        numbers, wide = of_categories(n)
        x, out = (values_of((rows, width), dtype) for width in (n, wide))
        x[:, -1] = np.arange(rows) % (CATEGORIES + 1)  # one beyond the last too
        table, counter = values_of((CATEGORIES, WIDTH), dtype), Counter(7, 5, 3)
        if operation is EMBEDDING_INPUTS:
            return out, out, x, rows, wide, table, numbers, counter
        return x, x, out, rows, n, table, numbers, counter
    if operation in (PUT_COLUMNS, TAKE_COLUMNS):
        x, out = values_of((rows, n), dtype), values_of((rows, n + 3), dtype)
        numbers, counter = np.array([3.0, n + 3 if operation is PUT_COLUMNS else n]), (7, 5, 3)
        if operation is TAKE_COLUMNS:
            return out, out, x, rows, n + 3, x, numbers, Counter(*counter)
        return x, x, out, rows, n, x, numbers, Counter(*counter)
    x, dy, out = (values_of((rows, n), dtype) for _ in range(3))
    if operation is WEIGHTED_ROWS:
        dy = values_of((rows, 1), dtype)
    if operation is CLASSES:
        out = np.zeros(rows, np.int64)
    if operation in (LABELS_OF_LOGITS, LABELS_OF_PROBABILITIES):
        out = np.zeros((rows, n), np.int64)
    parameters = values_of((PARAMETER_ROWS.get(operation.name, 1), n), dtype)
    return x, dy, out, rows, n, parameters, own_numbers(operation), Counter(7, 5, 3)


def loss_arguments(operation, rows, n, dtype, drawn):
    form = loss_forms()[operation]
    if "few" in form:
        n = min(n, LANES)
    scores, out = (values_of((rows, n), dtype) for _ in range(2))
    targets = np.arange(rows) % n if "labels" in form else values_of((rows, n), dtype)
    losses, measures = (values_of((rows, 1), dtype) for _ in range(2))
    given = rows, n, rows + drawn.choice((0, 3)), own_numbers(operation)
    return scores, targets, out, losses, measures, *given


def columnwise_arguments(operation, rows, n, dtype, drawn):
    if operation is EMBEDDING_WEIGHTS:
        numbers, wide = of_categories(n)
        x, dy = values_of((rows, n), dtype), values_of((rows, wide), dtype)
        x[:, -1] = np.arange(rows) % (CATEGORIES + 1)
        return x, dy, values_of((CATEGORIES, WIDTH), dtype), rows, WIDTH, WIDTH, numbers
    stride = n + drawn.choice((0, 1, 16))
    given, taken = OF_COLUMNS.get(operation.name, (rows, 1))
    if operation.name in ("batch_norm_statistics", "batch_norm_sums"):
        given, taken = rows, 8
    if operation.name == "standardize_statistics":
        given, taken = rows, 2
    x = values_of((reach(given, n, stride),), dtype)
    dy = values_of((reach(rows, n, stride),), dtype)
    out = values_of((reach(taken, n, stride),), dtype)
    return x, dy, out, rows, n, stride, own_numbers(operation)


PARAMETER_ROWS = {
    **{"batch_norm_forward": 8, "batch_norm_backward": 8},
    **{"standardize_forward": 2, "standardize_backward": 2},
}
# Rows of x that are no batch's, and of out that are more than one: of columnwise operations.
OF_COLUMNS = {
    "batch_norm_running": (2, 8),
    "batch_norm_dbiases": (8, 1),
    "batch_norm_dweights": (8, 1),
}


def update_arguments(operation, rows, n, dtype, drawn):
    stride, g_stride = (n + drawn.choice((0, 1, 16)) for _ in range(2))
    size = reach(rows, n, stride)
    parameters, gradients = values_of((size,), dtype), values_of((reach(rows, n, g_stride),), dtype)
    states = values_of((states_of()[operation], size), dtype)
    return parameters, gradients, states, size, rows, n, stride, g_stride, own_numbers(operation)


def gather_arguments(operation, rows, n, dtype, drawn):
    x, left = values_of((9, n), dtype), rows + drawn.choice((0, 20))
    order = np.array([drawn.randrange(9) for _ in range(left)])
    return x, order, left, values_of((rows, n), dtype), rows, n


BY_FAMILY = {
    "elementwise": elementwise_arguments,
    "rowwise": rowwise_arguments,
    "loss": loss_arguments,
    "columnwise": columnwise_arguments,
    "update": update_arguments,
    "gather": gather_arguments,
}


LAYERS = (
    *(layers.ReLU, layers.Softmax, layers.LeakyReLU, layers.GELU, layers.Dropout),
    *(layers.ELU, layers.SELU, layers.SiLU, layers.Softplus, layers.Sigmoid, layers.Tanh),
    layers.LogSoftmax,
)
LOSSES = (layers.SoftmaxCrossEntropy, layers.MeanSquaredError)


def network_cases():
    """Whole networks: programs of the package's own, with odd widths, rows and batches."""
    drawn = random.Random(2)
    for number in range(400):
        widths = [drawn.choice(SIZES) for _ in range(drawn.choice((2, 3, 4)))]
        dtype, rows, batch = (
            drawn.choice(DTYPES),
            drawn.choice((1, 9, 37)),
            drawn.choice((1, 5, 37)),
        )
        stack = []
        for pair in itertools.pairwise(widths):
            norm = drawn.choice((layers.BatchNorm, layers.LayerNorm, None, None))
            stack += [layers.Dense(*pair), drawn.choice(LAYERS)()]
            stack += [norm(pair[1])] if norm else []
        if drawn.random() < 0.3:
            stack.insert(0, drawn.choice(LAYERS)())
        loss = layers.CategoricalCrossEntropy()
        if not isinstance(stack[-1], layers.Softmax):
            stack = stack[: drawn.choice((-1, None))]
            if not isinstance(stack[-1], layers.Softmax):
                loss = drawn.choice(LOSSES)()
        if widths[-1] == 1 or isinstance(stack[-1], (layers.Sigmoid, layers.LogSoftmax)):
            loss = layers.MeanSquaredError()  # what the other losses refuse
        optimizer = drawn.choice((layers.SGD, layers.Adam))()
        name = np.dtype(dtype).name
        model = layers.Sequential(stack, loss, optimizer, seed=0, dtype=name)
        x = np.linspace(-0.9, 0.9, rows * widths[0], dtype=dtype).reshape(rows, -1)
        targets = np.arange(rows) % widths[-1]
        has_classes = loss.prediction is not None
        if number % 3 == 0 or not has_classes:
            targets = np.full((rows, widths[-1]), 1 / widths[-1], dtype)
        for at_end, count in itertools.product((False, True), (1, 2)):
            kind = "parallel" if count > 1 and number % 20 == 0 else "serial"
            place = f"{kind} {widths} {model!r} rows {rows} batch {batch} end {at_end}"
            weights = np.ones((rows, 1), dtype)
            twin = getattr(interpreter.execute, kind)
            fenced = Fenced(twin, count, model, weights, number % 5 == 0)
            order, size = np.arange(rows)[::-1].copy(), min(batch, rows)
            out, classes = np.zeros((rows, widths[-1]), dtype), np.zeros(rows, np.int64)
            column = np.zeros((rows, 1), dtype)
            ours = Compiled(model)
            for name, run in {
                "train": lambda: ours.train(x, targets, order, size, 0, Totals()),  # noqa: B023
                "train by weight": lambda: ours.train(  # noqa: B023
                    *(x, targets, order, size, 0, Totals(), weights)  # noqa: B023
                ),
                "scores": lambda: ours.scores(x, out),  # noqa: B023
                "predictions": lambda: ours.predictions(x, classes),  # noqa: B023
                "evaluate": lambda: ours.evaluate(x, targets, column, column.copy()),  # noqa: B023
            }.items():
                if name == "predictions" and not has_classes:
                    continue
                if name == "train by weight" and number % 4:
                    continue
                for given in fenced.what_is_called(run):
                    yield f"{name} {place}", fenced, given, at_end


class Fenced:
    """`interpreter.execute` on one kind of threads, its model's arrays laid out beside the rest.

    A program knows those by addresses, which are made of where the arrays have been laid.
    """

    def __init__(self, twin, count, model, weights, is_cut):
        self.twin, self.count, self.is_cut = twin, count, is_cut
        buffers = model._buffers
        self.own = {
            program.PARAMETERS: buffers.learnt,
            program.STATES: buffers.states,
            program.GRADIENTS: buffers.gradients,
            program.WEIGHTS: weights,
        }
        self.names = [argument.name for argument in interpreter.execute.contract.arguments]

    def what_is_called(self, run):
        """The arguments of each call that ``run`` makes; a workspace, and the model's arrays."""
        calls = []

        def for_threads(wanted, arguments):
            given = dict(zip(self.names, arguments(self.count), strict=False))
            header = program.Header(*given["program"][: len(program.Header._fields)])
            size = header.width * given["batch"] + header.shared
            space = np.zeros(size, given["x"].dtype)
            calls.append((*given.values(), space, *self.own.values()))
            return 0

        execute = Compiled._execute
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(interpreter.execute, "for_threads", for_threads)
            # Whatever the work is worth: with 2 it asks `for_threads`.
            patch.setattr(
                Compiled, "_execute", lambda ours, made, count, *rest: execute(ours, made, 2, *rest)
            )
            if self.is_cut:  # into a call for each line, as a batch is that takes long
                patch.setattr(runner, "_LONG_SECONDS", -1)
            run()
        return calls

    def __call__(self, *laid):
        given = dict(zip(self.names, laid, strict=False))
        for base, array in zip((program.SPACE, *self.own), laid[len(given) - 1 :], strict=True):
            given["bases"][base] = array.ctypes.data
        given["count"] = self.count
        self.twin(*given.values())


def cases():
    """(description, twin, arguments, at_end) of every call."""
    for kernel in jit.COMPILED:
        # What takes an address is called by an operation's kernel, or by a program.
        if not any(argument.name in BY_ADDRESS for argument in kernel.contract.arguments):
            yield from kernel_cases(kernel)
    yield from operation_cases()
    yield from door_cases()
    yield from product_cases()
    yield from network_cases()


BY_ADDRESS = ("function", "then", "program", "flags", "record")


def door_cases():
    """Operations on blocks of whole arrays, by their public kernels, on one thread and on more."""
    for door in jit.PUBLIC.values():
        if type(door) is jit.Door:
            yield from kernel_cases(door)


def kernel_cases(kernel):
    """By its contract.

    Some choices are drawn: where three sizes are open there are 5,000 combinations, and a parallel
    region takes a hundred times as long as the work in it. Each choice still meets every size.
    """
    names, arguments = size_names(kernel.contract), kernel.contract.arguments
    flags = [argument.name for argument in arguments if argument.kind == "flag"]
    forms = (False, True) if any(argument.kind == "labels" for argument in arguments) else (False,)
    drawn = random.Random(0)
    serial, parallel = path_of(kernel, "serial"), path_of(kernel, "parallel")
    of_operations = type(kernel) is jit.Door  # each of these has cases of its own
    for sizes in size_choices(names):
        if of_operations and drawn.random() < 0.75:
            continue
        dtypes = DTYPES if len(names) < 3 else (drawn.choice(DTYPES),)
        for dtype, targets, at_end in itertools.product(dtypes, forms, (False, True)):
            setting = {name: drawn.random() < 0.5 for name in flags}
            given = sizes, dtype, setting, targets, states_by_name().get(kernel.__name__, 0)
            values = [made(argument, *given) for argument in arguments]
            paths = {"serial": serial}
            if parallel is not None and (len(names) == 1 or drawn.random() < 0.05):
                paths["parallel"] = parallel
            for path, function in paths.items():
                place = f"{np.dtype(dtype)} at the {'end' if at_end else 'start'}"
                description = f"{kernel.__name__} {path} {place} {sizes} {setting}"
                yield description, function, values, at_end


def run_all(progress):
    slots = [Slot() for _ in range(24)]
    for description, function, values, at_end in cases():
        os.pwrite(progress, description.ljust(300).encode(), 0)
        laid = [
            slot.lay(value, at_end) if isinstance(value, np.ndarray) else value
            for slot, value in zip(slots, values, strict=False)
        ]
        function(*laid)
        if not all(slot.margin_is_untouched() for slot in slots):
            sys.exit("wrote beside an array")


def touch(at_end):
    """Read the element after the end, or before the start: what must not survive."""
    array = Slot().lay(np.zeros(3), at_end)
    ctypes.c_double.from_address(array.ctypes.data + (array.nbytes if at_end else -8)).value  # noqa: B018


# The tests


def child(*arguments):
    # Threads that spin between two parallel regions would take the cores from each other.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
    return subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("side", ["start", "end"])
def test_the_fence_is_deadly(side):
    assert child("touch", side).returncode in (-signal.SIGSEGV, -signal.SIGBUS)


@pytest.mark.long
def test_no_kernel_touches_memory_outside_its_arrays(tmp_path):
    progress = tmp_path / "progress"
    finished = child("run", progress)
    last = progress.read_text().strip() if progress.exists() else "nothing was called"
    assert finished.returncode == 0, f"{last}\n{finished.stderr[-2000:]}"


if __name__ == "__main__":
    faulthandler.enable()
    if sys.argv[1] == "touch":
        touch(at_end=sys.argv[2] == "end")
    else:
        run_all(os.open(sys.argv[2], os.O_RDWR | os.O_CREAT, 0o600))
