"""The page itself: records → statistics and views → one HTML file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, StrictUndefined, Template

from fastmask.constraint import Constraint
from fastmask.corpus.records import Problem
from fastmask.corpus.report.charts import break_bars, legend, size_bars, where_broken
from fastmask.corpus.report.statistics import Record, Statistics
from fastmask.corpus.report.views import cards, view
from fastmask.corpus.verdict import VERDICTS
from fastmask.errors import CorpusError
from fastmask.whole_file import write_whole

__all__ = ["write_report"]

_TOKENS_AT_ONCE = 1 << 20


def write_report(
    path: str | os.PathLike[str],
    con: Constraint,
    rows: Iterable[tuple[npt.NDArray[np.integer], npt.NDArray[np.int32], int, str] | Problem],
    title: str = "Report",
    drawn: int = 20,
    drawn_broken: int = 20,
    tokens_shown: int = 20,
) -> Statistics:
    """Write one HTML file about a corpus, which needs nothing else to be read: no network, no other file.

    A file that is there is replaced as a whole or not at all.

    Statistics are of all records, gathered in one pass and in bounded memory. Some records are drawn in full, their
    tokens coloured by how many tokens were allowed in their place.

    Args:
        path: the file to write.
        con: the constraint that the states are of.
        rows: ``(input_ids int [T], states int32 [T], start, label)`` each, see :class:`Record`; or a :class:`Problem`
            in place of a record that is left out, which is told and counted.
        title: the page's headline.
        drawn: how many records are drawn, the first ones.
        drawn_broken: how many broken records are drawn and listed with what was expected, the first ones; and of how
            many that were left out the page says why.
        tokens_shown: how many tokens of an allowed set are named.

    Raises:
        InputError: a record whose parts do not fit each other, or whose states are of another constraint; or a
            constraint made by ``from_index``, which knows tokens and no bytes.
        CorpusError: all records are left out.
        TokenRangeError: a record with a state or a token id outside the constraint's.
    """
    statistics = Statistics(con)
    first: list[Record] = []
    broken: list[Record] = []
    for records in _together(_kept(rows, statistics)):
        found = statistics.add(records)
        first += records[: drawn - len(first)]
        broken += [records[i] for i in found[: drawn_broken - len(broken)].tolist()]
    if statistics.left_out and not statistics.records:
        raise CorpusError(f"all {statistics.left_out:,} records are left out: {statistics.problems[0]}")
    others = [record for record in broken if not any(record is other for other in first)]
    views = [view(con, record) for record in [*first, *others]]
    page = _template().render(
        title=title,
        con=con,
        statistics=statistics,
        verdicts=list(zip(VERDICTS, statistics.verdicts.tolist(), strict=True)),
        sizes=size_bars(statistics),
        breaks=break_bars(statistics),
        where=where_broken(con, statistics),
        legend=legend(),
        records=views,
        problems=statistics.problems[:drawn_broken],
        failures=[(number, record) for number, record in enumerate(views) if record.broken],
        cards=cards(con, views, tokens_shown),
        style=_read("page.css"),
        script=_read("page.js"),
    )
    write_whole(path, page.encode())
    return statistics


def _kept(rows: Iterable[tuple[Any, Any, int, str] | Problem], statistics: Statistics) -> Iterator[Record]:
    """The records; what is left out is counted on the way."""
    for row in rows:
        if isinstance(row, Problem):
            statistics.leave_out(row)
        else:
            ids, states, start, label = row
            yield Record(np.asarray(ids), np.asarray(states), int(start), str(label))


def _together(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Records by the million tokens."""
    waiting: list[Record] = []
    tokens = 0
    for record in records:
        waiting.append(record)
        tokens += len(record.states)
        if tokens >= _TOKENS_AT_ONCE:
            yield waiting
            waiting, tokens = [], 0
    yield waiting


def _template() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return environment.from_string(_read("page.html"))


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
