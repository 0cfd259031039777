"""The command: `python -m benchmarks [names…]`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import benchmarks.compile
import benchmarks.corpus
import benchmarks.generation
import benchmarks.linear_losses
import benchmarks.losses
import benchmarks.memory
import benchmarks.rows
import benchmarks.schemas
import benchmarks.training_step
import benchmarks.walk
from benchmarks.harness import Report, Settings
from benchmarks.tables import show

GROUPS = {
    "walk": benchmarks.walk.run,
    "rows": benchmarks.rows.run,
    "compile": benchmarks.compile.run,
    "generation": benchmarks.generation.run,
    "corpus": benchmarks.corpus.run,
    "losses": benchmarks.losses.run,
    "linear_losses": benchmarks.linear_losses.run,
    "training_step": benchmarks.training_step.run,
    "memory": benchmarks.memory.run,
    "schemas": benchmarks.schemas.run,
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
    console = Console(width=None if sys.stdout.isatty() else 160)
    report = Report(Settings.for_correctness() if quick else Settings())
    for name in names or GROUPS:
        console.print(f"{name} …")
        GROUPS[name](report)
    show(report, console)
    path = out or Path("runs", "benchmarks", f"{datetime.now():%Y-%m-%d-%H%M%S}.json")
    report.write(path)
    print(path)


typer.run(main)
