"""What a constraint holds once every mask has been asked for, and what `import fastmask` costs a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Report, Spread
from benchmarks.workloads import padded, workloads

HEAVY = ("torch", "transformers", "outlines_core", "pydantic", "datasets")

# The interpreter's own start is not counted; numpy is, since fastmask needs it.
IMPORT = "import sys, time; begin = time.perf_counter(); import {}; print(time.perf_counter() - begin, *sys.modules)"


def run(report: Report) -> None:
    constraint_size(report)
    stored_positions(report)
    import_time(report)


def constraint_size(report: Report) -> None:
    for workload in workloads(report.settings.quick):
        con = workload.constraint()
        con.bitmask(np.arange(con.num_states))
        report.measure("memory", workload.name, f"fastmask, {con.num_states} states", "bytes", [con.nbytes])
        report.find("memory.constraint", workload.name, con.nbytes)


def stored_positions(report: Report) -> None:
    """What a corpus keeps of each position: a state id, or the mask itself."""
    for workload in workloads(report.settings.quick):
        con = workload.constraint()
        tokens, lengths = padded(workload.answers)
        states = con.walk(tokens, lengths=lengths)[np.arange(tokens.shape[1]) < lengths[:, None]]
        narrow = states.astype(np.int16 if con.num_states <= np.iinfo(np.int16).max else np.int32)
        kept = {
            "fastmask, state ids, zstd Parquet": parquet_bytes(narrow) / len(states),
            f"fastmask, state ids, {narrow.dtype}": narrow.itemsize,
            "fastmask, state ids, int32": states.itemsize,
            "any engine, packed mask": con.bitmask(states[:1]).nbytes,
            "any engine, bool mask": con.allowed(states[:1]).nbytes,
        }
        for name, nbytes in kept.items():
            report.measure("memory", f"stored · {workload.name}", name, "bytes/position", [nbytes])


def parquet_bytes(states: npt.NDArray[np.integer]) -> int:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"states": states}), sink, compression="zstd")
    return sink.getvalue().size


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
