"""Histograms of a whole corpus, as plain values ready for the page's template."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastmask.constraint import Constraint
from fastmask.corpus.expected import expected
from fastmask.corpus.report.statistics import Statistics

__all__ = ["Bar", "WhereBroken", "break_bars", "colour", "legend", "size_bars", "where_broken"]

_STEPS = (1, 2, 10, 100, 1_000, 10_000)  # of the colours: the least number of allowed tokens for each
_SIZES = (0, 1, *(step * 10**power for power in range(10) for step in (2, 5, 10)))  # about equal steps of a logarithm


class Bar(NamedTuple):
    """One row of a histogram."""

    name: str
    number: int
    share: float  # of all
    width: float  # of the longest bar
    colour: str


class WhereBroken(NamedTuple):
    """How many records broke in one state."""

    state: int
    expected: str
    records: int
    share: float  # of all broken ones


def size_bars(statistics: Statistics) -> list[Bar]:
    """Constrained tokens by how many were allowed."""
    return _bars(statistics.visits, statistics.allowed, [colour(low) for low in _SIZES])


def break_bars(statistics: Statistics) -> list[Bar]:
    """Broken records by the index of the token that broke them, counted from the first constrained one."""
    return _bars(statistics.break_positions, np.arange(len(statistics.break_positions)), ["broken"] * len(_SIZES))


def where_broken(con: Constraint, statistics: Statistics, most: int = 10) -> list[WhereBroken]:
    """The states in which most records broke."""
    order = np.argsort(-statistics.breaks, kind="stable")[:most]
    total = statistics.breaks.sum()
    return [
        WhereBroken(state, expected(con, state), count, count / total)
        for state, count in zip(order.tolist(), statistics.breaks[order].tolist(), strict=True)
        if count
    ]


def colour(allowed: int) -> str:
    """The name of the page's colour for so many allowed tokens."""
    return f"n{np.searchsorted(_STEPS, allowed, 'right') - 1}"


def legend() -> list[tuple[str, str]]:
    """The colours and what each stands for."""
    names = [_span(low, high - 1) for low, high in pairwise(_STEPS)]
    return list(zip(map(colour, _STEPS), [*names, f"{_STEPS[-1]:,} and more"], strict=True))


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} – {high:,}"


def _bars(numbers: npt.NDArray[np.int64], values: npt.NDArray[np.int64], colours: Sequence[str]) -> list[Bar]:
    """How many have a value within each of the sizes, from the first that any has to the last."""
    counted = numbers > 0
    in_size = np.searchsorted(_SIZES, values[counted], "right") - 1
    counts = np.bincount(in_size, numbers[counted], len(_SIZES))
    filled = np.flatnonzero(counts)
    names = [_span(low, high - 1) for low, high in pairwise(_SIZES)]
    return [
        Bar(names[i], int(counts[i]), float(counts[i] / counts.sum()), float(counts[i] / counts.max()), colours[i])
        for i in (range(filled[0], filled[-1] + 1) if filled.size else ())
    ]
