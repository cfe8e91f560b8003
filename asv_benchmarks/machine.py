"""Write down what this machine is, for asv and its page.

    python asv_benchmarks/machine.py NAME

asv keeps a record of each machine in ~/.asv-machine.json: system, CPU, memory. It copies what is
in there, known to it or not, into results/NAME/machine.json and into each result, and the page
shows it beside the machine's name. What a kernel's speed depends on besides is added here. Where
one of these fields changes, the page draws another line: a name on a new Numba is another machine.

The versions are those of this Python. asv installs the newest into its environments, so run this
with the newest.
"""

import argparse
import platform
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import llvmlite
import numba
import numpy as np
from asv.machine import Machine, MachineCollection

import kernels
from kernels.runtime import threads
from layers.bench.machine import blas
from layers.command_line.info import allowed_cpus, model_name


def fields() -> dict[str, str]:
    """What asv leaves out.

    Named apart from the packages of asv.conf.json's matrix, whose versions, there empty, asv would
    write over them.
    """
    numba.get_num_threads()  # starts them: only then is the layer known
    return {
        "host cpu": llvmlite.binding.get_host_cpu_name(),
        "usable cpus": str(allowed_cpus()),
        "threads": str(kernels.get_num_threads()),
        "threading layer": threads.layer() or "none",
        "blas": blas(),
        "llvm": ".".join(map(str, llvmlite.binding.llvm_version_info)),
        "versions": ", ".join(
            f"{package.__name__} {package.__version__}" for package in (numba, llvmlite, np)
        ),
    }


def record(name: str) -> dict[str, Any]:
    """Everything: asv's own fields and ours."""
    cpu = {"cpu": model_name() or platform.machine()}
    return {**Machine.get_defaults(), **cpu, **fields(), "machine": name}


def main() -> None:
    """Write the record under the given name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", help="of the machine, as in `asv run --machine NAME`")
    name = parser.parse_args().name
    written = record(name)
    MachineCollection.save(name, written)
    print(f"{MachineCollection.get_machine_file_path()}:")
    for field, value in written.items():
        print(f"  {field}: {value}")


if __name__ == "__main__":
    main()
