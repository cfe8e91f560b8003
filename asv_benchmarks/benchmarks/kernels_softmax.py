"""Softmax, cross-entropy and their gradients, at the shape of a network's scores."""

from functools import partial

import kernels

from .common import CASES, NETWORKS, WITHOUT_SMALL, Data, Timed
from .in_turns import BesideNumPy


class _ByRows(Timed):
    params = [WITHOUT_SMALL]
    param_names = ["network"]


class SoftmaxForward(_ByRows):
    def setup(self, network):
        case, data = CASES[network], Data()
        z, out = data.numbers(*case.scores), data.output(*case.scores)
        self.prepare(kernels.softmax_forward.bare, z, out, threads=case.threads)


class SoftmaxBackward(_ByRows):
    def setup(self, network):
        case, data = CASES[network], Data()
        p, dy = data.probabilities(*case.scores), data.numbers(*case.scores)
        out = data.output(*case.scores)
        self.prepare(kernels.softmax_backward.bare, p, dy, out, threads=case.threads)


class LogSoftmaxForward(_ByRows):
    def setup(self, network):
        case, data = CASES[network], Data()
        z, out = data.numbers(*case.scores), data.output(*case.scores)
        self.prepare(kernels.log_softmax_forward.bare, z, out, threads=case.threads)


class LogSoftmaxBackward(_ByRows):
    def setup(self, network):
        case, data = CASES[network], Data()
        log_p, dy = (data.numbers(*case.scores) for _ in range(2))
        out = data.output(*case.scores)
        self.prepare(kernels.log_softmax_backward.bare, log_p, dy, out, threads=case.threads)


class SoftmaxCrossEntropy(_ByRows):
    def setup(self, network):
        case, data = CASES[network], Data()
        z, labels = data.numbers(*case.scores), data.labels(*case.scores)
        outputs = data.output(*case.scores), data.output(case.batch, 1)
        self.prepare(kernels.softmax_cross_entropy.bare, z, labels, *outputs, threads=case.threads)


class LossGradient(Timed):
    """A row's loss and its gradient in one pass, as a model trains."""

    params = [
        [
            *("softmax_cross_entropy_gradient", "cross_entropy_gradient"),
            "smoothed_cross_entropy_gradient",
        ],
        WITHOUT_SMALL,
    ]
    param_names = ["kernel", "network"]

    def setup(self, kernel, network):
        case, data = CASES[network], Data()
        p, labels = data.probabilities(*case.scores), data.labels(*case.scores)
        columns = (data.output(case.batch, 1) for _ in range(2))
        outputs = data.output(*case.scores), *columns
        given = (0.1,) if kernel == "smoothed_cross_entropy_gradient" else ()
        function = getattr(kernels, kernel).bare
        self.prepare(function, p, labels, *given, *outputs, threads=case.threads)


NUMBERS = {
    "squared_error_gradient": (),
    "absolute_error_gradient": (),
    "huber_gradient": (1.0,),
    "poisson_gradient": (),
    "quantile_gradient": (0.5,),
}


class LossOfNumbers(Timed):
    """The same for numbers as targets."""

    params = [list(NUMBERS), WITHOUT_SMALL]
    param_names = ["kernel", "network"]

    def setup(self, kernel, network):
        case, data = CASES[network], Data()
        y, targets = (data.numbers(*case.scores) for _ in range(2))
        outputs = data.output(*case.scores), data.output(case.batch, 1)
        function, given = getattr(kernels, kernel).bare, NUMBERS[kernel]
        self.prepare(function, y, targets, *given, *outputs, threads=case.threads)


class LossOfLabels(Timed):
    """The same for labels that are 0 or 1 each."""

    params = [["sigmoid_cross_entropy_gradient", "binary_cross_entropy_gradient"], WITHOUT_SMALL]
    param_names = ["kernel", "network"]

    def setup(self, kernel, network):
        case, data = CASES[network], Data()
        p, targets = (data.probabilities(*case.scores) for _ in range(2))
        columns = (data.output(case.batch, 1) for _ in range(2))
        outputs = data.output(*case.scores), *columns
        self.prepare(getattr(kernels, kernel).bare, p, targets, *outputs, threads=case.threads)


class SoftmaxMinusTarget(_ByRows):
    def setup(self, network):
        case, data = CASES[network], Data()
        p, labels = data.probabilities(*case.scores), data.labels(*case.scores)
        out = data.output(*case.scores)
        self.prepare(kernels.softmax_minus_target.bare, p, labels, out, threads=case.threads)


class CrossEntropy(_ByRows):
    def setup(self, network):
        case, data = CASES[network], Data()
        p, labels = data.probabilities(*case.scores), data.labels(*case.scores)
        self.prepare(kernels.cross_entropy.bare, p, labels, threads=case.threads)


class CrossEntropyRows(_ByRows):
    def setup(self, network):
        case, data = CASES[network], Data()
        p, labels = data.probabilities(*case.scores), data.labels(*case.scores)
        out = data.output(case.batch, 1)
        self.prepare(kernels.cross_entropy_rows.bare, p, labels, out, threads=case.threads)


class CrossEntropyBackward(_ByRows):
    def setup(self, network):
        case, data = CASES[network], Data()
        p, labels = data.probabilities(*case.scores), data.labels(*case.scores)
        out = data.output(*case.scores)
        self.prepare(kernels.cross_entropy_backward.bare, p, labels, out, threads=case.threads)


class MeanLoss(Timed):
    params = [list(NETWORKS)]
    param_names = ["network"]

    def setup(self, network):
        self.prepare(kernels.mean_loss.bare, Data().numbers(NETWORKS[network].batch, 1))


class SoftmaxBesideNumPy(BesideNumPy):
    params = [["softmax_forward", "softmax_cross_entropy"], list(NETWORKS)]
    param_names = ["kernel", "network"]

    def setup(self, kernel, network):
        case, data = NETWORKS[network], Data()
        args = data.numbers(*case.scores), data.output(*case.scores)
        if kernel == "softmax_cross_entropy":
            z, out = args
            args = z, data.labels(*case.scores), out, data.output(case.batch, 1)
        self.prepare(
            partial(getattr(kernels, kernel).bare, *args),
            partial(getattr(kernels.reference, kernel), *args),
        )
