"""Schemas from the wild: how long each engine takes from a schema to its first mask, and how many it compiles at all.

fastmask stands here twice: by its schemas, where it refuses what it could not enforce, and by the regexes that
outlines-core makes of them. What is lost, or refused, counts with the time it took, so that p99 and max cannot flatter.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from benchmarks.harness import Report
from benchmarks.peers import installed
from benchmarks.peers.compilers import BY_REGEX, COMPILED, OURS, PEERS, UNTRANSLATED, Outcome, compile_all
from benchmarks.workloads import schema_sample, tokenizers

NOT_YET_ENFORCED = (
    "schemas: a compiled schema is not yet an enforced one: some engines drop keywords without a word, "
    "fastmask refuses those that it would have to drop"
)


def run(report: Report) -> None:
    everything = schema_sample()
    if not everything:
        report.note("schemas skipped: the shared folder with JSONSchemaBench's sample is not at hand")
        return
    # At random, so that an engine which has no time for all of them has seen a sample of every kind too.
    schemas = Random(0).sample(everything, min(len(everything), report.settings.schemas or len(everything)))
    name, tokenizer = next(iter(tokenizers(report.settings.quick).items()))
    report.note(f"schemas: {len(schemas)} of the sample's {len(everything)}, at random")
    report.note(NOT_YET_ENFORCED)
    engines = [OURS, BY_REGEX, *(peer.name for peer in installed(report.note, PEERS))]
    outcomes = {engine: compile_all(engine, tokenizer, schemas, report.settings.schema_seconds) for engine in engines}
    named = {name_of(engine, len(seen), len(schemas)): seen for engine, seen in outcomes.items()}
    for engine, seen in named.items():
        times(report, name, engine, seen)
        kinds = Counter(outcome.kind for outcome in seen)
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        report.note(f"schemas: {engine}: {told}, of {len(seen)}")
    coverage(report, name, schemas, named)
    targets(report, name, outcomes[BY_REGEX])


def name_of(engine: str, seen: int, schemas: int) -> str:
    """Whose time was over before the last schema stands for a smaller sample, and is not to be taken for more."""
    return engine if seen == schemas else f"{engine} ({seen} of {schemas})"


# ---- time -------------------------------------------------------------------------------------------------


def tried(outcomes: list[Outcome]) -> list[float]:
    return [outcome.seconds for outcome in outcomes if outcome.kind != UNTRANSLATED]


def times(report: Report, name: str, engine: str, outcomes: list[Outcome]) -> None:
    seconds = tried(outcomes)
    for quantile, share in {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}.items():
        report.measure("schemas", name, f"{engine}, {quantile}", "s", [float(np.quantile(seconds, share))])


def targets(report: Report, name: str, outcomes: list[Outcome]) -> None:
    seconds, compiled = tried(outcomes), sum(outcome.kind == COMPILED for outcome in outcomes)
    report.find("schemas.p50", name, float(np.median(seconds)))
    report.find("schemas.p99", name, float(np.quantile(seconds, 0.99)))
    report.find("schemas.compiled", f"{name} · {compiled} of {len(seconds)}", compiled / len(seconds))


# ---- coverage ---------------------------------------------------------------------------------------------


def coverage(report: Report, name: str, schemas: list[str], outcomes: dict[str, list[Outcome]]) -> None:
    """The share of all that compile, of those that refer to themselves, and of the largest."""
    large = np.quantile([len(schema) for schema in schemas], 0.9)
    populations: dict[str, Callable[[str], bool]] = {
        name: lambda _: True,
        f"{name} · recursive": lambda schema: is_recursive(json.loads(schema)),
        f"{name} · the largest tenth": lambda schema: len(schema) >= large,
    }
    for population, belongs in populations.items():
        report.note(f"schemas: {population}: {sum(map(belongs, schemas))} of {len(schemas)}")
        for engine, seen in outcomes.items():
            pairs = zip(schemas, seen, strict=False)  # some had no time for the last ones
            found = [outcome.kind == COMPILED for schema, outcome in pairs if belongs(schema)]
            if found:
                report.measure("schemas", population, f"{engine}, compiled", "of all", [sum(found) / len(found)])


def is_recursive(schema: Any) -> bool:
    """Does a reference lead back to a place that it stands in?"""
    done: set[str] = set()

    def returns(part: Any, within: frozenset[str]) -> bool:
        if isinstance(part, list):
            return any(returns(item, within) for item in part)
        if not isinstance(part, dict):
            return False
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            if reference in within:
                return True
            if reference not in done:
                done.add(reference)
                if returns(target(schema, reference), within | {reference}):
                    return True
        return any(returns(value, within) for value in part.values())

    return returns(schema, frozenset({"#"}))


def target(schema: Any, reference: str) -> Any:
    """What a local reference (a JSON pointer, RFC 6901) names; None if there is nothing."""
    part = schema
    for step in reference.lstrip("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        part = part.get(step) if isinstance(part, dict) else None
    return part
