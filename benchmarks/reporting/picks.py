"""Where a run has the figures of the README's table."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.harness import Measurement
from benchmarks.reporting.runs import OURS, Run, engine_of, ratio

TOKENIZERS = {"gpt2": "GPT-2", "llama2": "Llama-2", "llama3": "Llama-3"}
PEERS = (
    *("outlines", "xgrammar", "llguidance", "lm-format-enforcer"),
    *("torch", "Liger-Kernel", "plain KL", "constrained, torch"),
)  # with one of these begins every contender that one could pick in our place


class Figure(NamedTuple):
    """One number of a cell, and whom or what it speaks of where that is left to the run."""

    value: float
    engine: str = ""


Pick = Callable[[Run, str], list[Figure]]  # of a run and a tokenizer; [] where the run has no figure


# ---- of patterns in which {} is the tokenizer -------------------------------------------------------------


def found(target: str, workload: str) -> Pick:
    """A finding. A workload may end with the peer that was compared with."""

    def pick(run: Run, tokenizer: str) -> list[Figure]:
        findings = list(run.found(target, workload.format(tokenizer)))[:1]
        return [Figure(line.value.median, engine_of(line.workload.split(" · ")[-1])) for line in findings]

    return pick


def against(group: str, workload: str, theirs: str, ours: str) -> Pick:
    """How many times ``ours`` ``theirs`` is."""

    def pick(run: Run, tokenizer: str) -> list[Figure]:
        one, other = (list(run.measured(group, workload.format(tokenizer), name)) for name in (theirs, ours))
        return [Figure(ratio(one[0], other[0]))] if one and other else []

    return pick


def fastest_peer(group: str, workload: str, quantile: str) -> Pick:
    """How many times ours a quantile of the fastest other engine is."""

    def pick(run: Run, tokenizer: str) -> list[Figure]:
        ours = list(run.measured(group, workload.format(tokenizer), f"{OURS}, {quantile}"))
        lines = run.measured(group, workload.format(tokenizer), f"*, {quantile}")
        peers = [line for line in lines if line.contender.startswith(PEERS)]
        if not ours or not peers:
            return []
        fastest = min(peers, key=lambda line: line.value.median)
        return [Figure(ratio(fastest, ours[0]), engine_of(fastest.contender))]

    return pick


def every_engine(group: str, workload: str, contender: str) -> Pick:
    """The values of all engines, ours among them; none if we are alone."""

    def pick(run: Run, tokenizer: str) -> list[Figure]:
        lines = list(run.measured(group, workload.format(tokenizer), contender))
        alone = all(line.contender.startswith(OURS) for line in lines)
        return [] if alone else [Figure(line.value.median, line.contender.rsplit(", ", 1)[0]) for line in lines]

    return pick


def furthest_ahead(group: str, contender: str) -> Pick:
    """The least of a peer's ratios that are below 1, and where; workloads of no tokenizer count as GPT-2's."""

    def pick(run: Run, tokenizer: str) -> list[Figure]:
        leads = [
            Figure(value, line.workload.replace(f" · {tokenizer}", ""))
            for line, value in ahead(run)
            if (line.group, line.contender, tokenizer_of(line.workload)) == (group, contender, tokenizer)
        ]
        return sorted(leads)[:1]

    return pick


def ahead(run: Run) -> list[tuple[Measurement, float]]:
    """The lines of peers that are faster than we are beyond the spread, with their ratios."""
    ours = {(line.group, line.workload, line.contender): line.value for line in run.measurements}
    leads = []
    for line in run.measurements:
        if not line.contender.startswith(PEERS):
            continue
        quantile = line.contender.rpartition(", ")[2]
        value = ours.get((line.group, line.workload, f"{OURS}, {quantile}"))
        if line.ratio is not None and line.ratio.q3 < 1:
            leads.append((line, line.ratio.median))
        elif quantile in ("p50", "p99") and value is not None and line.value.q3 < value.q1:
            leads.append((line, line.value.median / value.median))
    return leads


def tokenizer_of(workload: str) -> str:
    return next((name for name in TOKENIZERS if name in workload), next(iter(TOKENIZERS)))
