"""How long one mask takes, position by position: what a decoder waits for, and how long at worst.

Each position is timed by itself, with the clock's and one Python call's time for everyone. A round gives the
quantiles over all positions of its answers; their median over the rounds is what one sees, so that a scheduler's
hiccup in one round does not decide. The largest of all is kept beside it, as the value's maximum.

The round before fills everyone's caches: what is met for the first time is not seen here, but in `compile`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import fastmask as fm
from benchmarks.harness import Report
from benchmarks.packed import empty_rows
from benchmarks.peers.entrants import entrants, memory_for
from benchmarks.peers.single import SteppedMatcher
from benchmarks.workloads import Workload, workloads

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
MASK, STEP = "fastmask", "fastmask, walk of one token and mask"

Times = Callable[[], list[int]]  # nanoseconds of every position, in one round


def run(report: Report) -> None:
    fm.set_num_threads(1)
    for workload in workloads(report.settings.quick):
        rounds = alternate(contenders(report, workload), report)
        for name, samples in rounds.items():
            for quantile, share in QUANTILES.items():
                seconds = [1e-9 * quantile_of(times, share) for times in samples]
                report.measure("latency", workload.name, f"{name}, {quantile}", "s/position", seconds)


def quantile_of(times: list[int], share: float) -> float:
    """The smallest time that at least this share of all times do not pass: always one that was measured."""
    return float(np.quantile(times, share, method="inverted_cdf"))


def alternate(contenders: dict[str, Times], report: Report) -> dict[str, list[list[int]]]:
    """All take turns; one round before warms them up."""
    for times in contenders.values():
        times()
    rounds: dict[str, list[list[int]]] = {name: [] for name in contenders}
    for _ in range(report.settings.rounds):
        for name, times in contenders.items():
            rounds[name].append(times())
    return rounds


def contenders(report: Report, workload: Workload) -> dict[str, Times]:
    answers = workload.sample(report.settings.answers)
    found = {
        MASK: own_masks(workload, answers),
        STEP: own_steps(workload, answers),
    }
    for peer in entrants(report, workload):
        if isinstance(peer.matcher, SteppedMatcher):
            row, *_ = peer.matcher.rows(memory_for(peer.answers[:1], workload))
            found[peer.name] = fill_times(peer.matcher, peer.answers, row)
    return found


def fill_times(matcher: SteppedMatcher, answers: list[list[int]], row: object) -> Times:
    return lambda: [nanoseconds for answer in answers for nanoseconds in matcher.fill_times(answer, row)]


def own_masks(workload: Workload, answers: list[list[int]]) -> Times:
    """Of states that are known, as the peers know theirs."""
    con = workload.constraint()
    row = empty_rows(1, con.vocab_size)
    before = [
        state
        for answer, walked in zip(answers, con.walk(answers), strict=True)
        for state in (con.initial_state, *walked[: len(answer) - 1])
    ]
    states = [np.array([state], np.int32) for state in before]

    def times() -> list[int]:
        found, mask, clock = [], con.bitmask, time.perf_counter_ns
        for state in states:
            begin = clock()
            mask(state, out=row)
            found.append(clock() - begin)
        return found

    return times


def own_steps(workload: Workload, answers: list[list[int]]) -> Times:
    """Of one token further: what the peers do in `accept` is timed as well."""
    con = workload.constraint()
    row = empty_rows(1, con.vocab_size)
    steps = [[np.array([token]) for token in answer] for answer in answers]
    initial = np.array([con.initial_state], np.int32)

    def times() -> list[int]:
        found, mask, advance, clock = [], con.bitmask, con.advance, time.perf_counter_ns
        for answer in steps:
            state = initial
            for token in answer:
                begin = clock()
                state = advance(state, token)
                mask(state, out=row)
                found.append(clock() - begin)
        return found

    return times
