"""Following answers: state ids for a batch, and the mask of every position, per token of the answers.

A state id is all that has to be stored to have the mask later, so the peers' counterpart of `con.walk` is the loop
that fills a mask and accepts a token. What accepting alone costs them is measured too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import fastmask as fm
from benchmarks.formats import ARTICLE, UPOS
from benchmarks.harness import Contender, Race, Report
from benchmarks.packed import empty_rows
from benchmarks.peers import OutlinesCore
from benchmarks.peers.entrants import entrants, memory_for
from benchmarks.workloads import Workload, padded, workloads

STATES = "fastmask, states"
MASKS = "fastmask, states and rows"


def run(report: Report) -> None:
    for workload in workloads(report.settings.quick):
        con = workload.constraint()
        require_complete(con, workload)
        beside_peers(report, workload, con)
        if workload.format in (ARTICLE, UPOS):  # the others' answers are too few for two threads
            on_threads(report, workload, con)


def require_complete(con: fm.Constraint, workload: Workload) -> None:
    check = con.check(workload.answers)
    if not check.complete.all():
        raise AssertionError(f"{workload.name}: answer {check.complete.argmin()} breaks its schema: {check}")


# ---- beside the peers -----------------------------------------------------------------------------------


def beside_peers(report: Report, workload: Workload, con: fm.Constraint) -> None:
    """The same answers for everyone, on one thread."""
    answers = workload.sample(report.settings.answers)
    total = sum(map(len, answers))
    tokens, lengths = padded(answers)
    is_token = np.arange(tokens.shape[1]) < lengths[:, None]
    memory = empty_rows(total, con.vocab_size)
    one_thread = partial(fm.set_num_threads, 1)

    def states_and_rows() -> None:
        con.bitmask(con.walk(tokens, lengths=lengths)[is_token], out=memory)

    contenders = {
        STATES: Contender(lambda: con.walk(tokens, lengths=lengths), total, one_thread),
        MASKS: Contender(states_and_rows, total, one_thread),
        "fastmask, states of Python lists": Contender(lambda: con.walk(answers), total, one_thread),
    }
    peers = entrants(report, workload)
    for peer in peers:  # whose masks are those before each token and the one behind the end
        matcher, theirs = peer.matcher, peer.answers
        rows = matcher.rows(memory_for(theirs, workload))
        contenders[masks_of(peer.name)] = Contender(each(theirs, matcher.masks, rows), peer.tokens + len(theirs))
        if peer.peer.accepts_alone:
            contenders[f"{peer.name}, accept only"] = Contender(each(theirs, matcher.read), peer.tokens)

    race = report.race("walk", workload.name, "s/token", contenders, STATES)
    find_ratios(report, workload, race, [masks_of(peer.name) for peer in peers])


def masks_of(name: str) -> str:
    return f"{name}, mask and accept"


def each(answers: list[list[int]], step: Callable[..., object], *arguments: Any) -> Callable[[], None]:
    def all_answers() -> None:
        for answer in answers:
            step(answer, *arguments)

    return all_answers


def find_ratios(report: Report, workload: Workload, race: Race, peers: list[str]) -> None:
    guide = masks_of(OutlinesCore.name)
    if guide in peers:
        report.find_ratio("walk.guide", workload.name, race, guide, STATES)
    if len(peers) > 1:
        fastest = race.fastest(peers)
        report.find_ratio("walk.peers", f"{workload.name} · {fastest}", race, fastest, STATES)


# ---- on several threads ---------------------------------------------------------------------------------


def on_threads(report: Report, workload: Workload, con: fm.Constraint) -> None:
    """The whole corpus in one call.

    The best times are compared: a second thread that waits for another program's time slice says nothing about ours.
    There are more rounds than elsewhere, because both need a moment in which no core has anything else to do.
    """
    tokens, lengths = padded(workload.answers)
    name = "fastmask, corpus, threads: {}".format
    contenders = {
        name(count): Contender(
            lambda: con.walk(tokens, lengths=lengths), int(lengths.sum()), partial(fm.set_num_threads, count)
        )
        for count in (1, 2)
    }
    race = report.race("walk", workload.name, "s/token", contenders, name(1), rounds=4)
    report.find("walk.threads", workload.name, race.ratio_of_best(name(1), name(2)))
