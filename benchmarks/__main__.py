"""The command: `python -m benchmarks [names…]`."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import benchmarks.groups.compile
import benchmarks.groups.corpus
import benchmarks.groups.generation
import benchmarks.groups.gpu_losses
import benchmarks.groups.growth
import benchmarks.groups.latency
import benchmarks.groups.linear_losses
import benchmarks.groups.losses
import benchmarks.groups.memory
import benchmarks.groups.rows
import benchmarks.groups.schemas
import benchmarks.groups.training_step
import benchmarks.groups.trees
import benchmarks.groups.walk
from benchmarks.harness import Report, Settings
from benchmarks.reporting.tables import show

GROUPS = {
    "walk": benchmarks.groups.walk.run,
    "latency": benchmarks.groups.latency.run,
    "growth": benchmarks.groups.growth.run,
    "trees": benchmarks.groups.trees.run,
    "rows": benchmarks.groups.rows.run,
    "compile": benchmarks.groups.compile.run,
    "generation": benchmarks.groups.generation.run,
    "corpus": benchmarks.groups.corpus.run,
    "losses": benchmarks.groups.losses.run,
    "linear_losses": benchmarks.groups.linear_losses.run,
    "gpu_losses": benchmarks.groups.gpu_losses.run,
    "training_step": benchmarks.groups.training_step.run,
    "memory": benchmarks.groups.memory.run,
    "schemas": benchmarks.groups.schemas.run,
}


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Any of: {' '.join(GROUPS)}. All, if none is named.")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Few rounds on the project's own treebank: checks the answers; the times mean nothing.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The JSON file; its path is the last line printed.")] = None,
) -> None:
    """Measure fastmask beside its peers: tables for people, JSON for machines."""
    unknown = [name for name in names or [] if name not in GROUPS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(GROUPS)}")
    path = _writable(out or Path("runs", "benchmarks", f"{datetime.now():%Y-%m-%d-%H%M%S}.json"))
    console = Console(width=None if sys.stdout.isatty() else 160)
    report = Report(Settings.for_correctness() if quick else Settings())
    for name in names or GROUPS:
        begin = time.perf_counter()
        GROUPS[name](report)
        report.write(path)  # each group's, for the next one may take an hour and be broken off
        console.print(f"{name}: {time.perf_counter() - begin:.0f} s")
    show(report, console)
    print(path)


def _writable(path: Path) -> Path:
    """The file of results, if it can be written: not to be found out when all is measured."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{path.parent} cannot be made a folder: {error.strerror}") from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise typer.BadParameter(f"{path} cannot be written: name a file in a folder that you may write to")
    return path


if __name__ == "__main__":  # processes that compile schemas import this file too
    typer.run(main)
