"""The report as one HTML file that opens anywhere, in light and dark."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined

from fastmask.characters import visible
from training.evaluation.uncertainty import Spread
from training.reporting.arms import Arm, common_folder, read_arms, settings_that_differ
from training.reporting.charts import charts
from training.run import read_json
from training.sampling.answers import CONTEXT, VERDICTS, WAYS

HERE = Path(__file__).parent


class Cell(NamedTuple):
    """A figure, and how sure it is."""

    text: str
    around: str = ""


class Table(NamedTuple):
    """Arms in rows."""

    caption: str
    note: str
    heads: list[str]
    rows: list[tuple]


class Context(NamedTuple):
    """A place where answers broke."""

    times: int
    before: str
    token: str
    expected: str


class Failures(NamedTuple):
    """How the answers of an arm broke."""

    arm: Arm
    way: str
    broken: int  # answers
    kinds: list[Context]  # by the token and what was expected
    contexts: list[Context]  # by what stands before it, too


def write_page(folders: Sequence[Path], out: Path, *, failures: int) -> list[Arm]:
    """Writes `out`, and beside it a PNG of each chart, and the first table in Markdown.

    `failures`: how many places of breaks are listed for an arm.
    """
    groups, arms = read_arms(folders)
    out.parent.mkdir(parents=True, exist_ok=True)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    look = files("fastmask.corpus.report").joinpath("page.css").read_text(encoding="utf-8")
    page = environment.from_string((HERE / "page.html").read_text(encoding="utf-8")).render(
        title="Training: " + (", ".join(group.name for group in groups if group.name) or common_folder(folders).name),
        arms=arms,
        runs=sum(len(group.folders) for group in groups),
        seeds=max(len(arm.models) for arm in arms),
        groups=groups,
        differing=settings_that_differ(groups),
        worth=worth(arms),
        answers=verdict_tables(arms),
        tables=[*words(arms), *costs(arms), origins(arms)],
        verdicts=VERDICTS,
        charts=charts(arms, out.parent, out.stem),
        failures=where_broken(arms, failures) if failures else [],
        style=look + (HERE / "page.css").read_text(encoding="utf-8"),
    )
    out.write_text(page, encoding="utf-8")
    out.with_suffix(".md").write_text(as_markdown(worth(arms)), encoding="utf-8")
    return arms


# --- tables --------------------------------------------------------------------------------------------------------

Column = tuple[str, Callable[[Arm], Cell | None]]


def worth(arms: Sequence[Arm]) -> Table:
    return _table(
        arms,
        "What the arms are worth",
        "on held-out documents; shares and masses in %",
        ("n", lambda arm: Cell(str(len(arm.models)))),
        ("steps", lambda arm: arm.steps and Cell(f"{arm.steps:,}")),
        ("valid, free", lambda arm: _verdict(arm, "free", "valid")),
        ("free, greedy", lambda arm: _verdict(arm, "free, greedy", "valid")),
        ("mass on disallowed", lambda arm: _mass(arm.figure("scores", "invalid_mass"))),
        ("its median", lambda arm: _mass(arm.figure("scores", "invalid_mass_median"))),
        ("99th percentile", lambda arm: _mass(arm.figure("scores", "invalid_mass_p99"))),
        ("tags right", lambda arm: _share(arm.figure("scores", "tag_accuracy"))),
        ("macro-F1", lambda arm: _share(arm.figure("scores", "tag_macro_f1"))),
        ("loss", lambda arm: _plain(arm.figure("scores", "loss"), "{:.3f}")),
    )


def verdict_tables(arms: Sequence[Arm]) -> list[Table]:
    """One for each way of decoding: the share of each verdict, and the same as a bar."""
    found = []
    for way in WAYS:
        rows = [
            (
                arm,
                [_verdict(arm, way, verdict) for verdict in VERDICTS],
                [(verdict, shares.mean) for verdict in VERDICTS if (shares := arm.figure("samples", way, verdict))],
            )
            for arm in arms
            if arm.figure("samples", way, "valid")
        ]
        each = sorted({model.facts["samples_each"] for arm in arms for model in arm.models})
        counts = " or ".join(f"{count:,}" for count in each)
        if rows:
            found.append(Table(_capital(way), f"% of {counts} answers", list(VERDICTS), rows))
    return found


def words(arms: Sequence[Arm]) -> list[Table]:
    """Of tagging; nothing for other tasks."""
    exact = _table(
        arms,
        "Answers with the sentence's words",
        "valid, and just these words; % of answers",
        *((way, lambda arm, way=way: _exact_copy(arm, way)) for way in WAYS),
    )
    copied = _table(
        arms,
        "Words copied",
        "in their order, before a break; % of the sentences' words",
        *((way, lambda arm, way=way: _share(arm.figure("words", way, "words_copied"))) for way in WAYS),
    )
    tags = _table(
        arms,
        "Tags of constrained greedy answers that copied exactly",
        "in %; easier sentences than most",
        ("answers", lambda arm: _plain(arm.figure("tags_of_copies", "answers"), "{:,.0f}")),
        ("words", lambda arm: _plain(arm.figure("tags_of_copies", "words"), "{:,.0f}")),
        ("tags right", lambda arm: _share(arm.figure("tags_of_copies", "accuracy"))),
        ("macro-F1", lambda arm: _share(arm.figure("tags_of_copies", "macro_f1"))),
    )
    return [table for table in (exact, copied, tags) if table.heads]


def costs(arms: Sequence[Arm]) -> list[Table]:
    table = _table(
        arms,
        "What the arms cost",
        _measured(arms),
        ("parameters", lambda arm: _scaled(arm.figure("cost", "parameters"), "")),
        ("on disk", lambda arm: _scaled(arm.figure("cost", "bytes_on_disk"), "B")),
        ("tokens a second", lambda arm: _plain(arm.figure("cost", "tokens_per_second"), "{:,.0f}")),
        ("peak memory", lambda arm: _scaled(arm.figure("cost", "peak_memory"), "B")),
    )
    return [table] if table.heads else []


def origins(arms: Sequence[Arm]) -> Table:
    return _table(
        arms,
        "What the arms are",
        "",
        ("what it is", lambda arm: Cell(arm.title)),
        ("goes on from", lambda arm: (start := arm.models[0].facts.get("start")) and Cell(start)),
    )


def as_markdown(table: Table) -> str:
    lines = [["arm", *table.heads], ["---"] * (1 + len(table.heads))]
    for arm, cells in table.rows:
        lines.append([arm.label, *(" ".join(filter(None, cell)) if cell else "" for cell in cells)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _table(arms: Sequence[Arm], caption: str, note: str, *columns: Column) -> Table:
    """Columns of which no arm has a figure are left out, and so are arms without any."""
    found = {head: [cell(arm) or None for arm in arms] for head, cell in columns}
    found = {head: cells for head, cells in found.items() if any(cells)}
    rows = [(arm, list(cells)) for arm, *cells in zip(arms, *found.values(), strict=True) if any(cells)]
    return Table(caption, note, list(found), rows)


def _plain(figure: Spread | None, form: str) -> Cell | None:
    return figure and Cell(form.format(figure.mean), _deviation(figure, form.format))


def _share(figure: Spread | None, interval: tuple[float, float] | None = None) -> Cell | None:
    """In %, with the deviation over seeds, or with the interval of a single run."""
    if figure is None:
        return None
    if interval is None:
        return Cell(_percent(figure.mean), _deviation(figure, _percent))
    low, high = interval
    return Cell(_percent(figure.mean), f"{low * 100:.0f}–{high * 100:.0f}")


def _mass(figure: Spread | None) -> Cell | None:
    """In %, with two significant digits of the mean: masses differ by orders of magnitude."""
    if figure is None:
        return None
    mean = figure.mean * 100
    form = f"{{:.{max(0, 1 - math.floor(math.log10(mean))) if mean > 0 else 0}f}}".format
    return Cell(form(mean), _deviation(Spread(tuple(mass * 100 for mass in figure.values)), form))


def _verdict(arm: Arm, way: str, verdict: str) -> Cell | None:
    return _share(arm.figure("samples", way, verdict), arm.interval("intervals", way, verdict))


def _exact_copy(arm: Arm, way: str) -> Cell | None:
    return _share(arm.figure("words", way, "exact_copy"), arm.interval("words", way, "exact_copy_interval"))


def _scaled(figure: Spread | None, unit: str) -> Cell | None:
    if figure is None:
        return None
    for power, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")):
        if figure.mean >= power:
            return Cell(f"{figure.mean / power:.3g} {prefix}{unit}".strip())
    return Cell(f"0 {unit}".strip())


def _deviation(figure: Spread, form: Callable[[float], str]) -> str:
    return "" if figure.deviation is None else f"± {form(figure.deviation)}"


def _percent(share: float) -> str:
    return f"{share * 100:.1f}"


def _measured(arms: Sequence[Arm]) -> str:
    """How speed and memory were measured; a second way is told, too, for such figures cannot be compared."""
    said = {
        "{prompts} prompts × {new_tokens} tokens, {dtype} on {device}, {threads} thread(s)".format(**how)
        for arm in arms
        for model in arm.models
        if (how := model.facts.get("cost", {}).get("measured"))
    }
    return "greedy, " + "; or ".join(sorted(said)) + "; memory is that of tensors, weights among them"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- failures ------------------------------------------------------------------------------------------------------


def where_broken(arms: Sequence[Arm], most: int) -> list[Failures]:
    """Of each arm and each free way in which an answer of it broke, over the samples of all seeds."""
    found = []
    for arm in arms:
        rows = [row for model in arm.models for row in _samples(model.folder / f"samples-{model.name}.json")]
        for way in (name for name, way in WAYS.items() if not way.constrained):
            broke = [row["broke"] for row in rows if row["way"] == way and "broke" in row]
            if broke:
                kinds, contexts = frequent(broke, 0, most), frequent(broke, CONTEXT, most)
                found.append(Failures(arm, way, len(broke), kinds, contexts))
    return found


def frequent(broke: Sequence[dict], context: int, most: int) -> list[Context]:
    """The most frequent breaks, told apart by the token, what was expected, and so many characters before it."""
    times = Counter((slip["before"][-context:] if context else "", slip["token"], slip["expected"]) for slip in broke)
    return [
        Context(count, visible(before), visible(token) or "⟨end⟩", expected)
        for (before, token, expected), count in times.most_common(most)
    ]


def _samples(path: Path) -> list[dict]:
    return read_json(path) if path.exists() else []
