"""A figure over the kept runs: `python -m benchmarks.reporting.history walk.guide`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Measurement
from benchmarks.reporting.runs import RESULTS, Line, Run
from benchmarks.reporting.tables import amount, figure
from benchmarks.targets import TARGETS

WIDTH = 24  # characters of the longest bar


def main(
    name: Annotated[str, typer.Argument(help="A target (walk.guide) or a group of measurements (instructions).")],
    workload: Annotated[str, typer.Option(help="Only workloads that contain this.")] = "",
    results: Annotated[Path, typer.Option(help="The folder of kept runs.")] = RESULTS,
) -> None:
    """Each of its values, oldest first, with a bar beside it; bars of one workload are to one scale."""
    runs = sorted((Run.read(path) for path in results.glob("*.json")), key=lambda run: run.time)
    series: dict[str, list[tuple[Run, Line]]] = {}
    for run in runs:
        for line in (*run.findings, *run.measurements):
            if name == (line.group if isinstance(line, Measurement) else line.target) and workload in line.workload:
                series.setdefault(title_of(line, run), []).append((run, line))
    if not series:
        raise typer.BadParameter(f"no run in {results} has {name!r}; targets are {', '.join(TARGETS)}")
    table = Table("workload", "run")
    table.add_column("median", justify="right")
    table.add_column("")
    for title, points in series.items():
        table.add_section()
        most = max(line.value.median for _, line in points)
        for i, (run, line) in enumerate(points):
            bar = "█" * round(WIDTH * line.value.median / most) if most else ""
            table.add_row("" if i else title, f"{run.time:%Y-%m-%d} · {run.names[0]}", written(line), bar)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def title_of(line: Line, run: Run) -> str:
    contender = line.contender if isinstance(line, Measurement) else ""
    return " · ".join(filter(None, (line.workload, contender, run.sample_of(line))))


def written(line: Line) -> str:
    if isinstance(line, Measurement):
        return amount(line.value.median, line.unit)
    target = TARGETS.get(line.target)  # kept runs outlive targets
    return f"{figure(line.value.median)} {target.unit if target else ''}"


if __name__ == "__main__":
    typer.run(main)
