"""From a schema to the first usable mask, from a regex to every state's mask, from a tokenizer to a vocabulary.

Everyone starts from the same text and the same Hugging Face tokenizer; caches across calls are off or avoided.
fastmask uses one thread, its peers as many as they like.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastmask as fm
from benchmarks.formats import ARTICLE, UPOS
from benchmarks.harness import Contender, Report
from benchmarks.packed import empty_rows
from benchmarks.peers import LLGuidance, LLGuidanceDrafts, OutlinesCore, Peer, XGrammar, installed
from benchmarks.peers.entrants import engine, refusal
from benchmarks.workloads import Workload, padded, workloads

OURS = "fastmask"
COMPILE_ALONE = "xgrammar, compile alone"
RACED = 1.5  # seconds; who takes longer does not take turns


def run(report: Report) -> None:
    fm.set_num_threads(1)
    seen: set[str] = set()
    for workload in workloads(report.settings.quick):
        engines = [peer for peer in installed(report.note) if peer is not LLGuidanceDrafts]  # compiles as LLGuidance
        peers = {peer: engine(peer, workload.tokenizer) for peer in engines}
        first_mask(report, workload, peers)
        if workload.format in (ARTICLE, UPOS):
            whole_table(report, workload, peers)
        if workload.tokenizer_name not in seen:
            seen.add(workload.tokenizer_name)
            vocabulary(report, workload, engines)


def first_mask(report: Report, workload: Workload, peers: dict[type[Peer], Peer]) -> None:
    text = workload.format.schema
    row = empty_rows(1, workload.vocabulary.size)

    def ours() -> None:
        con = fm.Constraint.from_schema(text, workload.vocabulary)
        con.bitmask(np.array([con.initial_state]), out=row)

    def theirs(peer: Peer) -> Callable[[], None]:
        def compile_and_fill() -> None:
            matcher = peer.schema(text)
            matcher.masks([], matcher.rows(row))

        return compile_and_fill

    workload.constraint()  # builds the vocabulary's trie, which belongs to the tokenizer's set-up
    name = f"schema to first mask · {workload.name}"
    contenders = {OURS: Contender(ours)}
    for peer, made in peers.items():
        try:
            seconds = seconds_of(theirs(made))
        except Exception as error:  # each engine has its own
            report.note(f"{name}: {peer.name} {refusal(error)}")
            continue
        if seconds < RACED:
            contenders[peer.name] = Contender(theirs(made))
        else:
            report.measure("compile", name, peer.name, "s", [seconds])
            report.note(f"{name}: {peer.name} was timed once, because it takes more than {RACED:g} s")
        if peer is XGrammar:
            contenders[COMPILE_ALONE] = Contender(lambda compile=made.compile: compile(text))
    race = report.race("compile", name, "s", contenders, OURS)
    if LLGuidance.name in contenders:
        report.find_ratio("compile.llguidance", workload.name, race, LLGuidance.name, OURS)
    if COMPILE_ALONE in contenders:
        report.find_ratio("compile.xgrammar", workload.name, race, COMPILE_ALONE, OURS)


def seconds_of(run: Callable[[], None]) -> float:
    """Once, behind nothing that would warm it up: to see whether it may take part in a race of many rounds."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def whole_table(report: Report, workload: Workload, peers: dict[type[Peer], Peer]) -> None:
    """All that can be known before the first token: outlines-core's Index, here a packed row for every state."""
    regex = workload.format.regex

    def all_masks(con: fm.Constraint) -> object:
        return con.bitmask(np.arange(con.num_states))

    contenders = {OURS: Contender(lambda: all_masks(fm.Constraint.from_regex(regex, workload.vocabulary)))}
    if OutlinesCore in peers:
        index = peers[OutlinesCore].index
        require_same_masks(workload.constraint(), index(regex), workload)
        contenders["outlines-core, Index"] = Contender(lambda: index(regex))
    race = report.race("compile", f"regex to all masks · {workload.name}", "s", contenders, OURS)
    if OutlinesCore in peers:
        report.find_ratio("compile.table", workload.name, race, "outlines-core, Index", OURS)


def require_same_masks(con: fm.Constraint, index: Any, workload: Workload) -> None:
    """At every position of the corpus the Index itself allows the same tokens."""
    theirs = fm.Constraint.from_index(index, workload.vocabulary)
    tokens, lengths = padded(workload.answers)
    pairs = np.stack([c.walk(tokens, lengths=lengths).reshape(-1) for c in (con, theirs)], axis=1)
    ours, their = np.unique(pairs, axis=0).T
    if not np.array_equal(con.bitmask(ours), theirs.bitmask(their)):
        raise AssertionError(f"{con!r} masks otherwise than outlines-core's Index on {workload.name}")


def vocabulary(report: Report, workload: Workload, peers: list[type[Peer]]) -> None:
    tokenizer = workload.tokenizer
    contenders = {OURS: Contender(lambda: fm.Vocabulary.from_tokenizer(tokenizer).core)}
    contenders |= {
        peer.name: Contender(lambda peer=peer: peer(tokenizer)) for peer in peers if peer is not OutlinesCore
    }
    race = report.race("compile", f"tokenizer to vocabulary · {workload.tokenizer_name}", "s", contenders, OURS)
    if XGrammar in peers:
        report.find_ratio("compile.tokenizer", workload.tokenizer_name, race, XGrammar.name, OURS)
