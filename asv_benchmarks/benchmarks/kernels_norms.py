"""Batch and layer normalization, at the shape of a network's hidden layer."""

import kernels

from .common import CASES, WITHOUT_SMALL, Data, Timed


class Normalization(Timed):
    """Each kernel of a normalization, forward and backward."""

    params = [
        [
            *("batch_norm_statistics", "batch_norm_forward", "batch_norm_sums"),
            *("batch_norm_running", "batch_norm_backward", "running_statistics_update"),
            *("layer_norm_forward", "layer_norm_normalized", "layer_norm_backward"),
            *("standardize_statistics", "standardize_forward", "standardize_backward"),
            "column_products",
        ],
        WITHOUT_SMALL,
    ]
    param_names = ["kernel", "network"]

    def setup(self, kernel, network):
        case, data = CASES[network], Data()
        shape = case.scores
        x, dy, out = data.numbers(*shape), data.numbers(*shape), data.output(*shape)
        row, other = (data.numbers(1, shape[1]) for _ in range(2))
        table, running = data.output(8, shape[1]), data.output(2, shape[1])
        kernels.batch_norm_statistics(x, row, 1e-5, table)
        given = {
            "batch_norm_statistics": (x, row, 1e-5, table),
            "batch_norm_running": (running, row, 1e-5, table),
            "batch_norm_forward": (x, row, table, out),
            "batch_norm_sums": (x, dy, table),
            "batch_norm_backward": (x, dy, table, out),
            "running_statistics_update": (running, running.copy(), 0.1),
            "layer_norm_forward": (x, row, other, 1e-5, out),
            "layer_norm_normalized": (x, 1e-5, out),
            "layer_norm_backward": (x, dy, row, 1e-5, out),
            "column_products": (x, dy, row),
            "standardize_statistics": (x, running),
            "standardize_forward": (x, running, out),
            "standardize_backward": (dy, running, out),
        }[kernel]
        self.prepare(getattr(kernels, kernel).bare, *given, threads=case.threads)
