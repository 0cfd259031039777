"""Two runs beside each other: `python -m benchmarks.reporting.compare A.json B.json`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.reporting.comparison import Change, compare, differences, in_one_alone
from benchmarks.reporting.runs import Run
from benchmarks.reporting.tables import amount, figure

TITLES = {
    "times": "times and sizes: the machine's as well as the program's",
    "ratios": "peers' times to ours, within each run: the machine cancels; faster = fastmask, beside the peer",
}
COLOURS = {"faster": "green", "slower": "red", "no difference": "dim", "no spread": "dim"}


def main(
    a: Annotated[Path, typer.Argument(help="The run before.")],
    b: Annotated[Path, typer.Argument(help="The run after.")],
    everything: Annotated[bool, typer.Option("--all", help="Lines without a difference, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines, on standard output.")] = False,
    fail_on_slower: Annotated[
        bool,
        typer.Option(help="Exit with 1 if fastmask is slower in any line; else the status is 0 whatever was found."),
    ] = False,
) -> None:
    """What became faster and what slower: where the quartiles of both runs do not overlap.

    Instructions, bytes and shares differ from 1 % on; a time of one sample is not judged. Of times, fastmask's own
    are judged only if machine, packages and settings are the same; the ratios to peers always are.
    """
    before, after = Run.read(a), Run.read(b)
    changes, warnings, alone = compare(before, after), differences(before, after), in_one_alone(before, after)
    if not changes:
        raise typer.BadParameter(f"{a} and {b} have no line in common: {', '.join(alone) or 'both are empty'}")
    if as_json:
        record = {"warnings": warnings, "in_one_alone": alone, "changes": [_record(change) for change in changes]}
        print(json.dumps(record, ensure_ascii=False))
    else:
        _show(changes, warnings, alone, everything)
    if fail_on_slower and any(_judged(change, warnings) and change.verdict == "slower" for change in changes):
        raise typer.Exit(1)


def _judged(change: Change, warnings: list[str]) -> bool:
    return change.ours and (change.kind == "ratios" or not warnings)


def _record(change: Change) -> dict[str, object]:
    return {**asdict(change), "ratio": change.ratio, "ours": change.ours}


def _show(changes: list[Change], warnings: list[str], alone: list[str], everything: bool) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    for warning in warnings:
        console.print(f"[yellow]the runs differ in[/yellow] {warning}")
    if alone:
        console.print(f"[yellow]lines of one run alone, not compared:[/yellow] {', '.join(alone)}")
    for kind, title in TITLES.items():
        shown = changes if everything else [change for change in changes if change.verdict in ("faster", "slower")]
        of_kind = [change for change in shown if change.kind == kind]
        if of_kind:
            console.print(_table(title, of_kind))
    counts = {verdict: sum(change.ours and change.verdict == verdict for change in changes) for verdict in COLOURS}
    console.print("fastmask: " + ", ".join(f"{count} × {verdict}" for verdict, count in counts.items()))


def _table(title: str, changes: list[Change]) -> Table:
    table = Table("group", "workload", "contender", title=title, title_justify="left", title_style="bold")
    for heading in ("before", "after", "after / before"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for change in changes:
        values = (_amount(change, spread.median) for spread in (change.before, change.after))
        verdict = f"[{COLOURS[change.verdict]}]{change.verdict}[/]"
        table.add_row(change.group, change.workload, change.contender, *values, f"{change.ratio:.3g}", verdict)
    return table


def _amount(change: Change, value: float) -> str:
    return amount(value, change.unit) if change.kind == "times" else f"{figure(value)} ×"


if __name__ == "__main__":
    typer.run(main)
