"""Pictures of a run: `python -m benchmarks.reporting.plots RESULTS.json --out docs/benchmarks`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import matplotlib
import typer

from benchmarks.harness import Spread
from benchmarks.reporting.comparison import read_together
from benchmarks.reporting.runs import Run
from benchmarks.reporting.series import QUANTILES, Series, by_number, by_quantile

matplotlib.use("Agg")  # a file is wanted, not a window
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

# Okabe and Ito's colours, which the colour-blind tell apart; in grey, markers and dashes do.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
STYLE = {
    "font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.axisbelow": True, "axes.edgecolor": "#5d6670", "grid.color": "#dde2e7", "grid.linewidth": 0.6,
    "legend.frameon": False, "svg.fonttype": "none", "svg.hashsalt": "fastmask", "figure.facecolor": "white",
}  # fmt: skip
WIDTH = 7.0  # inches
UNITS = {"length": " in tokens", "batch": " in rows", "vocabulary": " in tokens"}
LINE = 0.35  # inches, of an engine's line


def main(
    results: Annotated[list[Path], typer.Argument(help="Kept runs: of a group in several, the last counts.")],
    out: Annotated[Path, typer.Option(help="The folder for the SVG files.")] = Path("docs/benchmarks"),
) -> None:
    """Draw what the runs have figures for, and say what they have not."""
    run = read_together(results)
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in PLOTS.items():
        with plt.rc_context(STYLE):
            figure = draw(run)
            if figure is None:
                print(f"{name} left out: the runs have no such measurements", file=sys.stderr)
                continue
            path = out / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            plt.close(figure)
            print(path)


# ---- the pictures; None where a run has nothing to draw ---------------------------------------------------


def latency(run: Run) -> Figure | None:
    """Quantiles of the time that one position's mask takes, by engine."""
    lines = list(run.measured("latency", "article · gpt2*"))
    series = by_quantile(lines)
    if not series:
        return None
    figure, axes = plt.subplots(figsize=(WIDTH, 1.1 + LINE * len(series)), layout="constrained")
    draw_quantiles(axes, series)
    label = f"time of one position's mask ({lines[0].workload}), logarithmic; whiskers: quartiles"
    figure.supxlabel(label, fontsize="medium")
    return figure


def growth(run: Run) -> Figure | None:
    """Time a token as texts, batches, vocabularies and threads grow: a panel for each."""
    scales = by_number(run.measured("growth", "*"))
    if not scales:
        return None
    rows = (len(scales) + 1) // 2
    size = (WIDTH, 0.6 + 2.3 * rows)
    figure, grid = plt.subplots(rows, 2, figsize=size, sharey=True, squeeze=False, layout="constrained")
    names = list(dict.fromkeys(name for series in scales.values() for name in series))
    for axes, (what, series) in zip(grid.flat, scales.items(), strict=False):
        draw_curves(axes, series, names)
        axes.set_xlabel(f"{what}{UNITS.get(what, '')}, logarithmic")
    for axes in grid.flat[len(scales) :]:
        axes.remove()
    figure.supylabel("time for each token, logarithmic; whiskers: quartiles", fontsize="medium")
    pairs = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes]
    handles = {label: handle for pair in pairs for handle, label in pair}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    return figure


def schemas(run: Run) -> Figure | None:
    """Quantiles of compile times over the schema sample, with the shares that compiled where they are known."""
    lines = [line for line in run.measured("schemas", "*") if "·" not in line.workload]  # of all schemas, not of some
    series = by_quantile(line for line in lines if line.unit == "s")
    if not series:
        return None
    shares = {line.contender.rpartition(", ")[0]: line.value.median for line in lines if line.unit == "of all"}
    figure, (axes, beside) = plt.subplots(
        1, 2, figsize=(WIDTH, 1.1 + LINE * len(series)), sharey=True, width_ratios=(3, 1), layout="constrained"
    )
    draw_quantiles(axes, series)
    axes.set_xlabel("time to compile one schema, logarithmic")
    draw_shares(beside, [shares.get(name) for name in series])
    if not shares:
        beside.remove()
    return figure


PLOTS = {"latency": latency, "growth": growth, "schemas": schemas}

# ---- their parts ------------------------------------------------------------------------------------------


def draw_quantiles(axes: Axes, series: Series[str]) -> None:
    """A line for each contender, the fastest on top; a marker for each quantile."""
    met = [quantile for quantile in QUANTILES if any(quantile in values for values in series.values())]
    for quantile, colour, marker in zip(met, COLOURS, MARKERS, strict=False):
        places = [i for i, values in enumerate(series.values()) if quantile in values]
        spreads = [values[quantile] for values in series.values() if quantile in values]
        medians = [spread.median for spread in spreads]
        axes.errorbar(
            medians, places, xerr=whiskers(spreads), fmt=marker, color=colour, markersize=5, capsize=2, label=quantile
        )
    for i, values in enumerate(series.values()):
        medians = [spread.median for spread in values.values()]
        axes.hlines(i, min(medians), max(medians), color="#5d6670", linewidth=0.8, zorder=1)
    axes.set(xscale="log", yticks=range(len(series)), yticklabels=list(series), ylim=(len(series) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(EngFormatter("s"))
    axes.minorticks_off()
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(met))


def draw_curves(axes: Axes, series: Series[int], names: list[str]) -> None:
    """A curve for each contender, in the same colour, marker and dashes in every panel."""
    for name, values in series.items():
        i = names.index(name) % len(COLOURS)
        medians = [spread.median for spread in values.values()]
        axes.errorbar(
            list(values), medians, yerr=whiskers(values.values()), color=COLOURS[i], marker=MARKERS[i],
            linestyle=DASHES[i], markersize=4, linewidth=1.2, capsize=2, label=name,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log")
    numbers = sorted({number for values in series.values() for number in values})
    axes.set_xticks(numbers[:: (len(numbers) + 4) // 5], minor=False)
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
    axes.yaxis.set_major_formatter(EngFormatter("s"))


def draw_shares(axes: Axes, shares: list[float | None]) -> None:
    for i, share in enumerate(shares):
        if share is not None:
            axes.barh(i, share, height=0.5, color=COLOURS[0])
            axes.text(share, i, f" {share:.0%}", va="center")
    axes.set(xlim=(0, 1.25), xlabel="compiled", xticks=(0, 0.5, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1))


def whiskers(spreads: Iterable[Spread]) -> list[list[float]]:
    """From the medians down to the first quartiles and up to the third."""
    spreads = list(spreads)
    return [[spread.median - spread.q1 for spread in spreads], [spread.q3 - spread.median for spread in spreads]]


if __name__ == "__main__":
    typer.run(main)
