"""Following answers: state ids for a batch, and the mask of every position, per token of the treebank's answers.

A state id is all that has to be stored to have the mask later, so the peers' counterpart of `con.walk` is the loop
that fills a mask and accepts a token. What accepting alone costs them is measured too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import fastmask as fm
from benchmarks.harness import Contender, Race, Report
from benchmarks.peers.single import Matcher, Peer, installed
from benchmarks.workloads import Workload, padded, workloads

STATES = "fastmask, states"
MASKS = "fastmask, states and rows"


def run(report: Report) -> None:
    for workload in workloads(report.settings.quick):
        con = workload.constraint()
        require_complete(con, workload)
        beside_peers(report, workload, con)
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
    memory = np.zeros((total + 1, (con.vocab_size + 31) // 32), np.int32)
    one_thread = partial(fm.set_num_threads, 1)

    def states_and_rows() -> None:
        con.bitmask(con.walk(tokens, lengths=lengths)[is_token], out=memory[:total])

    contenders = {
        STATES: Contender(lambda: con.walk(tokens, lengths=lengths), total, one_thread),
        MASKS: Contender(states_and_rows, total, one_thread),
        "fastmask, states of Python lists": Contender(lambda: con.walk(answers), total, one_thread),
    }
    peers = installed(report.note)
    for peer in peers:
        matcher = checked_matcher(peer, workload, con, answers)
        rows = matcher.rows(memory[: tokens.shape[1] + 1])
        contenders[masks_of(peer)] = Contender(each(answers, matcher.masks, rows), total)
        contenders[f"{peer.name}, accept only"] = Contender(each(answers, matcher.read), total)

    race = report.race("walk", workload.name, "s/token", contenders, STATES)
    find_ratios(report, workload, race, [masks_of(peer) for peer in peers])


def masks_of(peer: type[Peer]) -> str:
    return f"{peer.name}, mask and accept"


def each(answers: list[list[int]], step: Callable[..., object], *arguments: Any) -> Callable[[], None]:
    def all_answers() -> None:
        for answer in answers:
            step(answer, *arguments)

    return all_answers


def find_ratios(report: Report, workload: Workload, race: Race, peers: list[str]) -> None:
    guide = "outlines-core, mask and accept"
    if guide in peers:
        report.find_ratio("walk.guide", workload.name, race, guide, STATES)
    if len(peers) > 1:
        fastest = race.fastest(peers)
        report.find_ratio("walk.peers", f"{workload.name} · {fastest}", race, fastest, STATES)


def checked_matcher(peer: type[Peer], workload: Workload, con: fm.Constraint, answers: list[list[int]]) -> Matcher:
    """The peer's matcher for the schema, once it has shown that it does the same job."""
    engine = peer(workload.tokenizer)
    # The engines read a schema with small differences (escapes, white space); a regex leaves them no choice.
    same_language = engine.regex(workload.schema.regex)
    matcher = engine.schema(workload.schema.text)
    for answer in answers:
        if not matcher.read(answer):
            raise AssertionError(f"{peer.name} refuses an answer of {workload.name}")
    for answer in answers[:3]:
        theirs, ours = masks_by(same_language, answer, con), own_masks(con, answer)
        if not peer.agrees(theirs, ours, con.vocabulary):
            raise AssertionError(f"{peer.name} masks otherwise on {workload.name}")
        require_allowed(masks_by(matcher, answer, con), answer, peer.name)
    return matcher


def masks_by(matcher: Matcher, answer: list[int], con: fm.Constraint) -> Any:
    memory = np.zeros((len(answer) + 1, (con.vocab_size + 31) // 32), np.int32)
    matcher.masks(answer, matcher.rows(memory))
    return memory


def own_masks(con: fm.Constraint, answer: list[int]) -> Any:
    return con.bitmask(np.append(np.int32(con.initial_state), con.walk([answer])[0]))


def require_allowed(rows: Any, answer: list[int], name: str) -> None:
    ids = np.array(answer)
    bits = rows[np.arange(len(ids)), ids // 32] >> (ids % 32) & 1
    if not bits.all():
        raise AssertionError(f"{name} forbids token {bits.argmin()} of an answer that it accepts")


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
