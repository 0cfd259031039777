"""The tables for people."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Measurement, Report, Spread
from benchmarks.targets import TARGETS

_PREFIXES = [(1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p")]


def show(report: Report, console: Console) -> None:
    for group, measurements in groupby(report.measurements, key=lambda m: m.group):
        console.print(_measured(group, list(measurements)))
    if not report.settings.quick:  # its times mean nothing
        console.print(_targets(report))
    for note in report.notes:
        console.print(f"note: {note}")


def _measured(group: str, measurements: list[Measurement]) -> Table:
    table = Table("contender", title=group, title_justify="left", title_style="bold")
    for heading in ("median", "quartiles", "best", "against fastmask"):
        table.add_column(heading, justify="right", no_wrap=True)
    for workload, lines in groupby(measurements, key=lambda m: m.workload):
        table.add_section()
        table.add_row(f"[bold]{workload}[/bold]")
        for line in lines:
            value, unit = line.value, line.unit
            quartiles = f"{amount(value.q1, unit)} … {amount(value.q3, unit)}"
            ratio = "" if line.ratio is None else f"{line.ratio.median:,.3g} ×"
            table.add_row(line.contender, amount(value.median, unit), quartiles, amount(value.minimum, unit), ratio)
    return table


def _targets(report: Report) -> Table:
    table = Table("what", "workload", title="targets", title_justify="left", title_style="bold")
    for heading in ("measured", "quartiles", "of best times", "target", "reached"):
        table.add_column(heading, justify="right", no_wrap=True)
    for finding in report.findings:
        target, value = TARGETS[finding.target], finding.value
        reached = "[green]yes[/green]" if finding.reached else "[red]no[/red]"
        best = "" if finding.best is None else figure(finding.best)
        table.add_row(target.what, finding.workload, figure(value.median), _range(value), best, str(target), reached)
    return table


def _range(value: Spread) -> str:
    return "" if value.q1 == value.q3 else f"{figure(value.q1)} … {figure(value.q3)}"


def figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def amount(value: float, unit: str) -> str:
    """3.2e-08 s/token → 32 ns/token; other units as they are."""
    if not unit.startswith("s"):
        return f"{figure(value)} {unit}"
    scale, prefix = next(((s, p) for s, p in _PREFIXES if value >= s), _PREFIXES[-1])
    return f"{value / scale:.3g} {prefix}{unit}"
