"""The report's pictures, readable with many arms: labels where the marks are, no legend, one colour for all.

Each is drawn once and kept twice: as PNG, and as SVG for the page, whose colours follow the reader's light or dark.
"""

import io
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import matplotlib

from training.evaluation.uncertainty import Spread
from training.reporting.arms import Arm
from training.sampling.answers import WAYS

matplotlib.use("Agg")  # a file is wanted, not a window
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogFormatter

# Those of the page, by their names there: fastmask/corpus/report/page.css.
INK, FAINT, LINE, BLUE = "#1c2126", "#5d6670", "#dde2e7", "#0072b2"
VARIABLES = {INK: "--ink", FAINT: "--faint", LINE: "--line", BLUE: "--complete"}
STYLE = {
    "axes.edgecolor": LINE, "axes.labelcolor": FAINT, "axes.titlecolor": INK, "text.color": INK,
    "xtick.color": FAINT, "ytick.color": FAINT, "grid.color": LINE, "axes.grid": True, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 9,
    "svg.hashsalt": "fastmask",
}  # fmt: skip
WIDTH = 11.0  # inches
COLUMNS = 5  # of panels
LONGEST_LABEL = 34
LEADING = 0.05  # of a panel's height, between numbers


@FuncFormatter
def percent(share: float, _=None) -> str:
    return f"{share * 100:.4g} %"


class Chart(NamedTuple):
    """A picture of the report."""

    name: str  # of its file, without the ending
    title: str
    description: str  # what is to be seen, for those who cannot see it
    svg: str


class Curve(NamedTuple):
    """Something that was looked at while models learnt."""

    key: str
    title: str
    unit: str
    logarithmic: bool
    percent: bool


CURVES = (
    Curve("loss", "Cross-entropy of held-out answers", "nats a token", logarithmic=True, percent=False),
    Curve("invalid_mass", "Mass on disallowed tokens", "", logarithmic=True, percent=True),
    Curve("tag_accuracy", "Tags right", "", logarithmic=False, percent=True),
)


def charts(arms: Sequence[Arm], folder: Path, stem: str) -> list[Chart]:
    """Draws everything that there are figures for; `folder` gets a PNG of each, named after `stem`."""
    found = []
    with plt.rc_context(STYLE):
        for curve in CURVES:
            if learning := [arm for arm in arms if any(curve.key in look for m in arm.models for look in m.curve)]:
                found.append(_kept(
                    learning_curves(learning, curve), folder, f"{stem}-{curve.key.replace('_', '-')}", curve.title,
                    f"{curve.title} over training steps, a panel for each of {len(learning)} arms. Thin lines are "
                    "single seeds, the thick one is their mean, grey ones are the other arms.",
                ))  # fmt: skip
        found.append(_kept(
            validity(arms), folder, f"{stem}-validity", "Valid answers",
            "A row for each arm, a column for each way of decoding: the share of answers that are complete and within "
            "the schema. A dot is a seed; the line reaches one standard deviation to either side of their mean, with a "
            "single seed over its 95 % interval. " + _best(arms),
        ))  # fmt: skip
        if any(arm.figure("cost", "parameters") for arm in arms):
            found.append(_kept(
                cost_against_worth(arms), folder, f"{stem}-cost", "Cost against worth",
                f"Each numbered point is an arm: {' and '.join(title for title, _ in _worths(arms))}, better above, "
                "against size on disk and time a token, cheaper to the left.",
            ))  # fmt: skip
    return found


def learning_curves(arms: Sequence[Arm], curve: Curve) -> Figure:
    """A panel for each arm, the other arms behind it in grey."""
    rows = -(-len(arms) // COLUMNS)
    columns = min(COLUMNS, max(len(arms), 3))
    figure, panels = plt.subplots(
        rows, columns, figsize=(WIDTH, 0.35 + 1.75 * rows), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for i, panel in enumerate(panels.flat):
        if i >= len(arms):
            panel.set_axis_off()
            continue
        for other in arms:
            panel.plot(*_mean_curve(other, curve.key), color=LINE, linewidth=1)
        for model in arms[i].models:
            steps, values = _points(model.curve, curve.key)
            panel.plot(steps, values, color=BLUE, linewidth=0.8, alpha=0.55)
        panel.plot(*_mean_curve(arms[i], curve.key), color=BLUE, linewidth=2)
        panel.set_title(_label(arms[i], 26), loc="left")
        panel.xaxis.set_tick_params(labelbottom=i + columns >= len(arms))
        if i + columns >= len(arms):
            panel.set_xlabel("step")
        if i % columns == 0:
            panel.set_ylabel(curve.unit)
    first = panels.flat[0]
    if curve.logarithmic:
        first.set_yscale("log")
    first.yaxis.set_major_formatter(percent if curve.percent else "{x:g}")
    # Losses span little more than a power of ten, and masses several.
    first.yaxis.set_minor_formatter("" if curve.percent else LogFormatter(minor_thresholds=(2, 0.5)))
    return figure


def validity(arms: Sequence[Arm]) -> Figure:
    """Bars of valid answers, a column for each way of decoding, with error bars and a dot for each seed."""
    ways = [way for way in WAYS if any(arm.figure("samples", way, "valid") for arm in arms)]
    figure, columns = plt.subplots(
        1, len(ways), figsize=(WIDTH, 0.9 + 0.3 * len(arms)), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for column, way in zip(columns.flat, ways, strict=True):
        for y, arm in enumerate(arms):
            shares = arm.figure("samples", way, "valid")
            if shares is None:
                continue
            column.barh(y, shares.mean, height=0.66, color=BLUE, alpha=0.45)
            if (interval := arm.validity(way)) is not None:
                column.plot(interval, (y, y), color=INK, linewidth=1.4)
            _dots(column, shares.values, y)
        column.set_title(way if "greedy" in way else f"{way}, sampled", loc="left")
        column.set_yticks(range(len(arms)), [_label(arm, LONGEST_LABEL) for arm in arms], color=INK)
        column.set_ylim(len(arms) - 0.5, -0.5)
        column.set_xlim(0, 1)
        column.xaxis.set_major_formatter(percent)
        column.set_xticks((0, 0.5, 1))
        column.tick_params(axis="y", length=0)
        column.grid(visible=False, axis="y")
    return figure


def cost_against_worth(arms: Sequence[Arm]) -> Figure:
    """Numbered points: cheaper to the left, better above."""
    costs = (("size on disk", "B", _bytes_on_disk), ("time a token", "s", _seconds_a_token))
    worths = _worths(arms)
    figure, panels = plt.subplots(
        len(worths), 2, figsize=(WIDTH, 0.4 + 3.4 * len(worths)), sharex="col", sharey="row", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for row, (worth, keys) in enumerate(worths):
        for column, (cost, unit, price) in enumerate(costs):
            panel = panels[row, column]
            points = [
                (price(arm).mean, arm.figure(*keys), arm.number) for arm in arms if price(arm) and arm.figure(*keys)
            ]
            for x, y, _ in points:
                panel.errorbar(x, y.mean, y.deviation, fmt="o", color=BLUE, ecolor=FAINT, markersize=5, elinewidth=0.8)
            panel.set_xscale("log")
            if points:
                panel.set_xlim(min(x for x, _, _ in points) / 1.6, max(x for x, _, _ in points) * 1.6)
                _number(panel, [(x, y.mean, number) for x, y, number in points])
            panel.xaxis.set_major_formatter(EngFormatter(unit=unit))
            panel.xaxis.set_minor_formatter(EngFormatter(unit=unit))
            panel.tick_params(axis="x", which="both", labelsize=7, labelrotation=30)
            panel.yaxis.set_major_formatter(percent)
            if row == len(worths) - 1:
                panel.set_xlabel(cost)
            if column == 0:
                panel.set_ylabel(worth)
    return figure


def _number(panel: Axes, points: list[tuple[float, float, int]]) -> None:
    """Numbers beside the points; where points stand one above the other their numbers keep apart, a line to each."""
    to_axes = panel.transData + panel.transAxes.inverted()  # 0 … 1 over the panel's width and height
    columns: dict[int, list[tuple[float, float, int]]] = defaultdict(list)
    for x, y, number in points:
        across, up = to_axes.transform((x, y))
        columns[round(across * 12)].append((float(up), float(across), number))
    for column in columns.values():
        column.sort()
        heights: list[float] = []
        for up, _, _ in column:
            heights.append(max(up, heights[-1] + LEADING) if heights else up)
        too_high = max(0.0, heights[-1] - 1.0)
        right = max(across for _, across, _ in column) + 0.04
        for (up, across, number), height in zip(column, heights, strict=True):
            panel.annotate(
                str(number), (across, up), xytext=(right, height - too_high), xycoords="axes fraction",
                textcoords="axes fraction", va="center", fontsize=8, color=INK,
                arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
            )  # fmt: skip


def _kept(figure: Figure, folder: Path, name: str, title: str, description: str) -> Chart:
    figure.savefig(folder / f"{name}.png", dpi=150, facecolor="white", metadata={"Software": None})
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return Chart(name, title, description, _for_the_page(drawn.getvalue(), name))


def _for_the_page(svg: str, name: str) -> str:
    """Without the file's prologue; colours by the page's names for them, ids unlike those of the other charts."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"<svg [^>]*?viewBox", '<svg role="img" viewBox', svg, count=1)  # as wide as the page
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


def _points(curve: list[dict], key: str) -> tuple[list[int], list[float]]:
    seen = [look for look in curve if key in look]
    return [look["step"] for look in seen], [look[key] for look in seen]


def _mean_curve(arm: Arm, key: str) -> tuple[list[int], list[float]]:
    """Over the seeds that looked at a step; all do at the same ones."""
    at: dict[int, list[float]] = defaultdict(list)
    for model in arm.models:
        for step, value in zip(*_points(model.curve, key), strict=True):
            at[step].append(value)
    steps = sorted(at)
    return steps, [fmean(at[step]) for step in steps]


def _dots(panel: Axes, values: Sequence[float], y: float) -> None:
    """A dot for each seed, a little above each other, so that equal ones can be told."""
    offsets = [(i - (len(values) - 1) / 2) * 0.16 for i in range(len(values))]
    panel.scatter(values, [y + offset for offset in offsets], s=9, color=INK, linewidths=0, zorder=3, clip_on=False)


def _label(arm: Arm, longest: int) -> str:
    label = f"{arm.number}  {arm.label}"
    return label if len(label) <= longest else label[: longest - 1] + "…"


def _best(arms: Sequence[Arm]) -> str:
    share = arms[0].figure("samples", "free", "valid").mean
    return f"Sampled freely, arm {arms[0].number}, {arms[0].label}, is valid most often: {share:.0%}."


def _worths(arms: Sequence[Arm]) -> list[tuple[str, tuple[str, ...]]]:
    """What there are figures for, and where they stand."""
    every = (("valid, free sampled", ("samples", "free", "valid")), ("tags right", ("scores", "tag_accuracy")))
    return [(title, keys) for title, keys in every if any(arm.figure(*keys) for arm in arms)]


def _bytes_on_disk(arm: Arm) -> Spread | None:
    return arm.figure("cost", "bytes_on_disk")


def _seconds_a_token(arm: Arm) -> Spread | None:
    speed = arm.figure("cost", "tokens_per_second")
    return speed and Spread(tuple(1 / tokens for tokens in speed.values))
