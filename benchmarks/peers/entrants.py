"""Which peers take part in a workload, once each has shown that it does the same job.

Who refuses the schema or an answer is noted and left out there: it offers less, not something wrong. A mask that
forbids what was accepted, or that differs where two engines must agree, ends the run.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

import fastmask as fm
from benchmarks.harness import Report, Settings
from benchmarks.packed import Rows, are_allowed, empty_rows
from benchmarks.peers import Peer, installed
from benchmarks.peers.single import Matcher
from benchmarks.workloads import Workload

COMPARED = 3  # answers whose masks are compared with fastmask's
PASSES = 5  # that the answers kept for timing take no longer than the settings' patience


class Refused(Exception):
    """The peer does not take part, and why."""


@dataclass(frozen=True)
class Entrant:
    peer: type[Peer]
    matcher: Matcher
    answers: list[list[int]]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.peer.name

    @property
    def tokens(self) -> int:
        return sum(map(len, self.answers))


@cache
def engine(peer: type[Peer], tokenizer: Any) -> Any:
    """A peer for a tokenizer, which takes some seconds to make: one for all groups."""
    return peer(tokenizer)


def entrants(report: Report, workload: Workload) -> list[Entrant]:
    found = []
    for peer in installed(report.note):
        entrant = _entrant(peer, workload, report.settings)
        for note in entrant.notes if isinstance(entrant, Entrant) else [str(entrant)]:
            report.note(f"{workload.name}: {peer.name} {note}")
        if isinstance(entrant, Entrant):
            found.append(entrant)
    return found


@cache
def _entrant(peer: type[Peer], workload: Workload, settings: Settings) -> Entrant | Refused:
    made = engine(peer, workload.tokenizer)
    try:
        entrant = accepted(peer, made, workload, settings)
    except Refused as refused:
        return refused
    entrant = in_time(entrant, workload, settings.patience / PASSES)
    require_allowed(entrant, workload)
    try:
        with time_limit(settings.patience):
            same_language = entrant.matcher if peer.by_regex else made.regex(workload.format.regex)
            require_same_masks(entrant, same_language, workload)
    except TimeoutError:
        note = f"has masks that were not compared: {settings.patience:g} s were not enough for the schema's regex"
        return replace(entrant, notes=(*entrant.notes, note))
    return entrant


def accepted(peer: type[Peer], engine: Peer, workload: Workload, settings: Settings) -> Entrant:
    """The peer with the answers that it takes for answers."""
    try:
        matcher = engine.schema(workload.format.schema)
    except Exception as error:  # each engine has its own
        raise Refused(refusal(error)) from None
    begin, taken, seen, answers = time.perf_counter(), [], 0, workload.sample(settings.answers)
    for seen, answer in enumerate(answers, 1):  # noqa: B007 - how many were seen
        if matcher.read(answer):
            taken.append(answer)
        if time.perf_counter() - begin > settings.patience:
            break
    if not taken:
        raise Refused(f"left out, it refuses {seen} of {seen} answers")
    notes = []
    if seen < len(answers):
        notes.append(f"is offered {seen} of {len(answers)} answers: reading these took above {settings.patience:g} s")
    if refused := seen - len(taken):
        notes.append(f"refuses {refused} of {seen} answers, and is timed on the others")
    return Entrant(peer, matcher, taken, tuple(notes))


def refusal(error: Exception) -> str:
    """What a note says of a peer that raises this over a schema."""
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return f"left out, it refuses the schema: {reason[:150]}"


def in_time(entrant: Entrant, workload: Workload, seconds: float) -> Entrant:
    """With as many answers as a pass has time for, but one at least."""
    rows, spent, kept = entrant.matcher.rows(memory_for(entrant.answers, workload)), 0.0, []
    for answer in entrant.answers:
        begin = time.perf_counter()
        entrant.matcher.masks(answer, rows)
        spent += time.perf_counter() - begin
        kept.append(answer)
        if spent > seconds:
            break
    if len(kept) == len(entrant.answers):
        return entrant
    note = f"is timed on {len(kept)} of {len(entrant.answers)} answers: more would take above {seconds:g} s a pass"
    return replace(entrant, answers=kept, notes=(*entrant.notes, note))


def memory_for(answers: list[list[int]], workload: Workload) -> Rows:
    """A packed row before each token of the longest answer, and one behind it."""
    return empty_rows(max(map(len, answers)) + 1, workload.vocabulary.size)


# ---- the same job -----------------------------------------------------------------------------------------


def require_same_masks(entrant: Entrant, same_language: Matcher, workload: Workload) -> None:
    """The engines read a schema with small differences (escapes, white space); a regex leaves them no choice."""
    con = workload.constraint()
    for answer in entrant.answers[: COMPARED if entrant.peer.compared is None else 1]:
        part = answer[: entrant.peer.compared]
        theirs, ours = masks_by(same_language, part, workload), own_masks(con, part)
        if not entrant.peer.agrees(theirs, ours, con.vocabulary):
            raise AssertionError(f"{entrant.name} masks otherwise on {workload.name}")


def require_allowed(entrant: Entrant, workload: Workload) -> None:
    """Its masks for the schema allow what it accepts."""
    for answer in entrant.answers[:COMPARED]:
        rows, ids = masks_by(entrant.matcher, answer, workload), np.array(answer)
        allowed = are_allowed(ids, rows)
        if not allowed.all():
            raise AssertionError(f"{entrant.name} forbids token {allowed.argmin()} of an answer that it accepts")


def masks_by(matcher: Matcher, answer: list[int], workload: Workload) -> Rows:
    memory = memory_for([answer], workload)
    matcher.masks(answer, matcher.rows(memory))
    return memory


def own_masks(con: fm.Constraint, answer: list[int]) -> Any:
    return con.bitmask(np.append(np.int32(con.initial_state), con.walk([answer])[0]))


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """TimeoutError in what takes longer, as soon as it comes back to Python; on Windows it may take its time."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def expired(*_: object) -> None:
        raise TimeoutError

    previous: Callable[..., object] | Any = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
