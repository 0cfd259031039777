"""What a constraint holds once every mask has been asked for, and what `import fastmask` costs a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from benchmarks.harness import Report, Spread
from benchmarks.workloads import workloads

HEAVY = ("torch", "transformers", "outlines_core", "pydantic", "datasets")

# The interpreter's own start is not counted; numpy is, since fastmask needs it.
IMPORT = "import sys, time; begin = time.perf_counter(); import {}; print(time.perf_counter() - begin, *sys.modules)"


def run(report: Report) -> None:
    constraint_size(report)
    import_time(report)


def constraint_size(report: Report) -> None:
    for workload in workloads(report.settings.quick):
        con = workload.constraint()
        con.bitmask(np.arange(con.num_states))
        report.measure("memory", workload.name, f"fastmask, {con.num_states} states", "bytes", [con.nbytes])
        report.find("memory.constraint", workload.name, con.nbytes)


def import_time(report: Report) -> None:
    seconds: dict[str, list[float]] = {"numpy": [], "fastmask": []}
    modules: dict[str, list[str]] = {}
    # An installed package has its byte code; a checkout gets it in the first round.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(report.settings.rounds):
        for package in seconds:
            command = [sys.executable, "-c", IMPORT.format(package)]
            printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            took, *modules[package] = printed.split()
            seconds[package].append(float(took))
    for package, samples in seconds.items():
        report.measure("memory", "import in a fresh process", package, "s", samples)

    heavy = [name for name in HEAVY if name in modules["fastmask"]]
    if heavy:
        report.note(f"import fastmask loads {', '.join(heavy)}")
    added = len(set(modules["fastmask"]) - set(modules["numpy"]))
    report.measure("memory", "import in a fresh process", "fastmask, beyond numpy's", "modules", [added])
    report.find("memory.import", "fresh process", Spread.of(seconds["fastmask"]))
    report.find("memory.modules", ", ".join(HEAVY), len(heavy))
