"""Compile times over schemas from the wild: all those of the sample that outlines-core can translate to a regex.

Translating and compiling happen in another process with a limit on its memory, replaced when it dies or falls silent:
outlines-core's translation can take all memory there is, and can be neither limited nor interrupted from inside.
"""

from __future__ import annotations

import multiprocessing as mp
import time
from collections import Counter
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

import fastmask as fm
from benchmarks.harness import Report
from benchmarks.workloads import schema_sample, tokenizers, treebank

TIMEOUT = 40.0  # seconds for one step; the compiler's own budget is 30
MEMORY = 6 << 30  # bytes; the compiler's own budget is 2 GiB

UNTRANSLATED, COMPILED, LOST = "without a regex", "compiled", "lost (process died or fell silent)"


class Outcome(NamedTuple):
    kind: str  # one of the above, or the name of the error
    seconds: float = 0.0


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
    # What was refused or lost counts with the time it took, so that p99 and max cannot flatter.
    seconds = [outcome.seconds for outcome in outcomes if outcome.kind != UNTRANSLATED]
    figures = {"p50": np.median(seconds), "p90": np.quantile(seconds, 0.9), "p99": np.quantile(seconds, 0.99)}
    for figure, value in {**figures, "max": max(seconds)}.items():
        report.measure("schemas", name, f"fastmask, {figure}", "s", [float(value)])
    report.find("schemas.p50", name, float(figures["p50"]))
    report.find("schemas.p99", name, float(figures["p99"]))
    compiled = kinds[COMPILED]
    report.find("schemas.compiled", f"{name} · {compiled} of {len(seconds)}", compiled / len(seconds))


def compile_all(schemas: list[str], vocabulary: fm.Vocabulary) -> list[Outcome]:
    outcomes = []
    worker = Worker(vocabulary)
    for schema in schemas:
        outcomes.append(worker.compile(schema))
        if not worker.alive:
            worker = Worker(vocabulary)
    worker.end()
    return outcomes


class Worker:
    """A process that compiles one schema after another; it ends itself when it gives no answer in time."""

    def __init__(self, vocabulary: fm.Vocabulary) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, vocabulary), daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self.alive = self.receive() is not None

    def compile(self, schema: str) -> Outcome:
        self.pipe.send(schema)
        if not self.receive():
            return Outcome(UNTRANSLATED)
        begin = time.perf_counter()
        return self.receive() or Outcome(LOST, time.perf_counter() - begin)

    def receive(self) -> Any:
        """The worker's next word; None, and the worker's end, if there is none."""
        try:
            if self.pipe.poll(TIMEOUT):
                return self.pipe.recv()
        except EOFError:
            pass
        self.end()
        return None

    def end(self) -> None:
        self.alive = False
        self.process.kill()
        self.process.join()


def serve(pipe: Connection, vocabulary: fm.Vocabulary) -> None:
    limit_memory()
    _ = vocabulary.core  # the trie belongs to the tokenizer's set-up
    fm.Constraint.from_regex("warm-up", vocabulary)
    pipe.send("ready")
    while True:
        regex = translate(pipe.recv())
        pipe.send(regex is not None)
        if regex is not None:
            pipe.send(compile_one(regex, vocabulary))


def limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def translate(schema: str) -> str | None:
    from outlines_core.json_schema import build_regex_from_schema

    try:
        return build_regex_from_schema(schema)
    except (ValueError, TypeError):
        return None


def compile_one(regex: str, vocabulary: fm.Vocabulary) -> Outcome:
    begin = time.perf_counter()
    try:
        fm.Constraint.from_regex(regex, vocabulary)
        kind = COMPILED
    except fm.FastmaskError as error:
        kind = type(error).__name__
    return Outcome(kind, time.perf_counter() - begin)
