"""Record this machine, for asv and its page.

    python asv_benchmarks/machine.py NAME

asv keeps a record of each machine in ~/.asv-machine.json: system, CPU, memory. It copies all fields
into results/NAME/machine.json and into each result, and the page shows them with the machine's
name. This script adds what else a kernel's speed depends on. Where a field changes, the page draws
another line: a new Numba counts as another machine.

The versions are those of this Python. asv installs the newest ones into its environments, so run
this script with the newest.
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
    """The fields that asv lacks.

    Their names differ from the packages in asv.conf.json's matrix, whose empty versions would
    overwrite them.
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
    """All fields, asv's and ours."""
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
