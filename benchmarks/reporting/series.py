"""Measurements as what a plot wants: for each contender, spreads at quantiles or along a scale."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import TypeVar

from benchmarks.harness import Measurement, Spread

QUANTILES = ("p50", "p90", "p99", "p99.9", "max")
SCALE = re.compile(r"(?P<what>\w+) (?P<number>\d[\d,]*)")

At = TypeVar("At", bound=Hashable)
Series = dict[str, dict[At, Spread]]  # contender → where → what


def by_quantile(lines: Iterable[Measurement]) -> Series[str]:
    """Contenders as "xgrammar, p99", the fastest first; the rest has no place in this."""
    series: Series[str] = defaultdict(dict)
    for line in lines:
        engine, _, quantile = line.contender.rpartition(", ")
        if quantile in QUANTILES:
            series[engine][quantile] = line.value
    return dict(sorted(series.items(), key=lambda item: min(value.median for value in item[1].values())))


def by_number(lines: Iterable[Measurement]) -> dict[str, Series[int]]:
    """Workloads as "length 1,024": a set of series for each thing that grows, in the order of the numbers."""
    scales: dict[str, Series[int]] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        if found := SCALE.match(line.workload):
            scales[found["what"]][line.contender][int(found["number"].replace(",", ""))] = line.value
    return {
        what: {name: dict(sorted(values.items())) for name, values in series.items()} for what, series in scales.items()
    }
