"""Memory beyond the data and the parameters, at its peak, in a fresh process.

asv's own ``peakmem_`` counts the interpreter, Numba and LLVM, which dwarf the rest.
"""

from pathlib import Path

from .common import NETWORKS
from .startup import run_fresh

CODE = """
import numpy as np
import layers
from benchmarks.layers_training import model_of

def status(field):
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) * 1024

def call(widths, rows, batch):
    random = np.random.default_rng(20)
    x = random.uniform(-1, 1, (rows, widths[0])).astype(np.float32)
    y, model = random.integers(0, widths[-1], rows), model_of(widths)
    return {{
        "fit": lambda: model.fit(x, y, batch_size=batch),
        "predict": lambda: model.predict(x),
        "evaluate": lambda: model.evaluate(x, y),
    }}[{method!r}]

call({widths}, {rows}, {batch})()  # another model's: the kernels are loaded, threads started
measured = call({widths}, {rows}, {batch})
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak so far is forgotten
before = status("VmRSS")
measured()
print(max(0, status("VmHWM") - before))
"""


class BeyondTheData:
    """Peak memory above that before the call: ten batches of data, a model, warm kernels."""

    params = [["fit", "predict", "evaluate"], list(NETWORKS)[1:]]
    param_names = ["method", "network"]
    unit = "bytes"
    timeout = 300.0

    def setup(self, method, network):
        if not Path("/proc/self/clear_refs").exists():
            raise NotImplementedError("this system does not forget a process's peak of memory")
        case = NETWORKS[network]
        rows = 10 * case.batch
        self.code = CODE.format(method=method, widths=case.widths, rows=rows, batch=case.batch)

    def track_peak(self, method, network):
        suite = str(Path(__file__).parents[1])
        code = f"import sys\nsys.path.insert(0, {suite!r})\n{self.code}"
        # So that freed large arrays are returned to the system.
        return int(run_fresh(code, MALLOC_MMAP_THRESHOLD_="65536"))
