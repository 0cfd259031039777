"""Compile times over schemas from the wild: all those of the sample that outlines-core can translate to a regex.

Each is compiled in a process of its own that is given up after a time-out: a construction that explodes can be
neither limited nor interrupted from inside.
"""

from __future__ import annotations

import multiprocessing as mp
import time
from collections import Counter
from multiprocessing.connection import Connection
from typing import NamedTuple

import fastmask as fm
import numpy as np

from benchmarks.harness import Report
from benchmarks.workloads import schema_sample, tokenizers, treebank

TIMEOUT = 5.0  # seconds for one regex


class Outcome(NamedTuple):
    kind: str  # compiled · untranslated · refused · timed out
    seconds: float


def run(report: Report) -> None:
    schemas = schema_sample()[: report.settings.schemas]
    if not schemas:
        report.note("schemas skipped: the shared folder with JSONSchemaBench's sample is not at hand")
        return
    _, texts = treebank(report.settings.quick)
    name, tokenizer = next(iter(tokenizers(texts, report.settings.quick).items()))
    outcomes = compile_all(schemas, fm.Vocabulary.from_tokenizer(tokenizer))

    kinds = Counter(outcome.kind for outcome in outcomes)
    report.note(f"schemas: {', '.join(f'{count} {kind}' for kind, count in kinds.most_common())}, of {len(schemas)}")
    # A schema that timed out counts with the time it was given, so that p99 and max cannot flatter.
    seconds = [outcome.seconds for outcome in outcomes if outcome.kind != "untranslated"]
    figures = {"p50": np.median(seconds), "p90": np.quantile(seconds, 0.9), "p99": np.quantile(seconds, 0.99)}
    for figure, value in {**figures, "max": max(seconds)}.items():
        report.measure("schemas", name, f"fastmask, {figure}", "s", [float(value)])
    report.find("schemas.p50", name, float(figures["p50"]))
    report.find("schemas.p99", name, float(figures["p99"]))
    report.find("schemas.compiled", f"{name} · {kinds['compiled']} of {len(seconds)}", kinds["compiled"] / len(seconds))


def compile_all(schemas: list[str], vocabulary: fm.Vocabulary) -> list[Outcome]:
    outcomes = []
    worker = Worker(vocabulary)
    for schema in schemas:
        outcome = worker.compile(schema)
        outcomes.append(outcome)
        if outcome.kind == "timed out":
            worker.end()
            worker = Worker(vocabulary)
    worker.end()
    return outcomes


class Worker:
    """A process that compiles one schema after another."""

    def __init__(self, vocabulary: fm.Vocabulary) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, vocabulary), daemon=True)
        self.process.start()
        self.pipe.recv()  # ready

    def compile(self, schema: str) -> Outcome:
        self.pipe.send(schema)
        begin = time.perf_counter()
        return self.pipe.recv() if self.pipe.poll(TIMEOUT) else Outcome("timed out", time.perf_counter() - begin)

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def serve(pipe: Connection, vocabulary: fm.Vocabulary) -> None:
    _ = vocabulary.core  # the trie belongs to the tokenizer's set-up
    fm.Constraint.from_regex("warm-up", vocabulary)
    pipe.send("ready")
    while True:
        pipe.send(compile_one(pipe.recv(), vocabulary))


def compile_one(schema: str, vocabulary: fm.Vocabulary) -> Outcome:
    from outlines_core.json_schema import build_regex_from_schema

    try:
        regex = build_regex_from_schema(schema)
    except (ValueError, TypeError):
        return Outcome("untranslated", 0.0)
    begin = time.perf_counter()
    try:
        fm.Constraint.from_regex(regex, vocabulary)
    except fm.FastmaskError:
        return Outcome("refused", time.perf_counter() - begin)
    return Outcome("compiled", time.perf_counter() - begin)
