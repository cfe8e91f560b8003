"""The gain of a second thread."""

import time

import kernels

from .common import NETWORKS
from .growth import fit_on
from .in_turns import Ratio


class FitOnTwoThreads(Ratio):
    """The time of `fit` on two threads over that on one: 0.5 at best, 1 where the second idles."""

    params = [list(NETWORKS)[1:]]
    param_names = ["network"]
    pairs = 7
    clock = staticmethod(time.perf_counter)

    def setup(self, network):
        kernels.set_num_threads(None)
        if kernels.get_num_threads() < 2:
            raise NotImplementedError("one core: there is nothing to share")
        two, one = (fit_on(threads, NETWORKS[network]) for threads in (2, 1))
        self.prepare(two, one, threads=None)

    def track_time_over_one_thread(self, network):
        return self.ratio()
