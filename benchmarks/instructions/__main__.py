"""The command: `python -m benchmarks.instructions [names…]`.

Times on a shared machine move by tens of per cent; a regression of two hides in them. Instructions do not move. They
are no times: they know nothing of memory, and are compared only with counts by the same counter.

A path runs in a fresh process, so many times and twice as many: what the second process counts beyond the first is
the path alone, the calls from Python included, without start, imports and warm-up.
"""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.harness import Report
from benchmarks.instructions.counters import HOW_TO, Count, Counter, count, find_counter
from benchmarks.instructions.paths import PATHS, Inputs
from benchmarks.workloads import padded, workloads

# valgrind knows no AVX-512, so nobody uses it, and takes `rep movsb` for an instruction a byte, so the C library copies
# in vectors at any size. Hashes are the same in each process.
NEVER = str(1 << 40)  # bytes
ENVIRONMENT = {
    "FASTMASK_SIMD": "avx2",
    "GLIBC_TUNABLES": f"glibc.cpu.x86_rep_movsb_threshold={NEVER}:glibc.cpu.x86_rep_stosb_threshold={NEVER}",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Settings:
    """How it was counted, in the place of a race's settings."""

    counter: str
    simd: str = ENVIRONMENT["FASTMASK_SIMD"]
    quick: bool = False


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Any of: {', '.join(PATHS)}. All, if none is named.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="The project's own treebank and one repetition: to see it run.")] = False,
    out: Annotated[Path | None, typer.Option(help="The JSON file; its path is the last line printed.")] = None,
) -> None:
    """Count the instructions of the kernel's hot paths: some minutes with valgrind, seconds with perf."""
    unknown = [name for name in names or [] if name not in PATHS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(PATHS)}")
    counter = find_counter()
    if counter is None:
        raise SystemExit(HOW_TO)
    report = Report(Settings(counter.name, quick=quick))
    with TemporaryDirectory() as folder:
        path = Path(folder, "inputs.pickle")
        inputs = prepared(quick)
        path.write_bytes(pickle.dumps(inputs))
        for name in names or PATHS:
            value = instructions(counter, name, 1 if quick else PATHS[name].repeats, path)
            unit = f"instructions/{PATHS[name].unit}"
            report.measure("instructions", f"{name} · {inputs.name}", "fastmask", unit, [value])
            print(f"{name}: {value:,.4f} {unit}", flush=True)
    kept = out or Path("runs", "benchmarks", f"instructions-{datetime.now():%Y-%m-%d-%H%M%S}.json")
    report.write(kept)
    print(kept)


def prepared(quick: bool) -> Inputs:
    workload = next(iter(workloads(quick)))
    tokens, lengths = padded(workload.answers)
    return Inputs(workload.name, workload.format.schema, workload.vocabulary, tokens, lengths)


def instructions(counter: Counter, name: str, repeats: int, inputs: Path) -> float:
    """Per unit of the path's work."""
    once, twice = (counted(counter, name, times * repeats, inputs) for times in (1, 2))
    return (twice.instructions - once.instructions) / (repeats * int(once.printed))


def counted(counter: Counter, name: str, repeats: int, inputs: Path) -> Count:
    command = [sys.executable, "-m", "benchmarks.instructions.one_path", name, str(repeats), str(inputs)]
    return count(counter, command, {**os.environ, **ENVIRONMENT})


if __name__ == "__main__":
    typer.run(main)
