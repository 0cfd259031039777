"""What the states of a corpus say as a whole: one pass over its records, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastmask import _core
from fastmask.allowed_counts import allowed_counts
from fastmask.constraint import Constraint
from fastmask.corpus.records import Problem
from fastmask.corpus.summary import LISTED
from fastmask.corpus.verdict import BROKEN, VERDICTS, judge
from fastmask.errors import InputError, TokenRangeError

__all__ = ["Record", "Statistics"]


class Record(NamedTuple):
    """A text and its states, as :meth:`Constraint.walk` gives them."""

    input_ids: npt.NDArray[np.integer]
    """[T]"""
    states: npt.NDArray[np.int32]
    """[T]: position ``t`` is the state after token ``t``."""
    start: int
    """Index of the first constrained token; at most T."""
    label: str
    """What the record is called."""


class Statistics:
    """Counts over records; ``add`` as many as there are, then look."""

    def __init__(self, con: Constraint) -> None:
        self._con = con
        self.verdicts = np.zeros(len(VERDICTS), np.int64)
        """[verdicts]: records by verdict, in the order of :data:`VERDICTS`."""
        self.left_out = 0
        """Records that are in none of these counts."""
        self.problems: list[Problem] = []
        """Why the first 100 of those are not."""
        self.tokens = 0
        """Tokens of all records, constrained or not."""
        self.visits = np.zeros(con.num_states, np.int64)
        """[num_states]: how many tokens were chosen in each of the text's states; 0 for FREE, DONE and DEAD."""
        self.breaks = np.zeros(con.num_states, np.int64)
        """[num_states]: how many records broke at a token chosen in each state."""
        self.break_positions = np.zeros(0, np.int64)
        """[longest]: how many records broke at each constrained token, counted from the first."""

    def add(self, records: Sequence[Record]) -> npt.NDArray[np.int64]:
        """Count some more records, fastest with some thousands at once; the numbers of those that are broken.

        Raises:
            InputError: a record with other states than tokens, or with a start outside itself.
            TokenRangeError: a state or a token id outside its range.
        """
        if not records:
            return np.zeros(0, np.int64)
        for record in records:
            _require_shape(record)
        states = np.concatenate([record.states for record in records])
        ids = np.concatenate([record.input_ids for record in records])
        lengths = np.array([len(record.states) for record in records])
        starts = np.array([record.start for record in records])
        begins = np.cumsum(lengths) - lengths
        for what, found, size in (("state", states, self._con.num_states), ("token id", ids, self._con.vocab_size)):
            outside = np.flatnonzero((found < 0) | (found >= size))
            if outside.size:
                label = records[int(np.searchsorted(begins + lengths, outside[0], "right"))].label
                raise TokenRangeError(
                    f"record {label!r} has {what} {found[outside[0]]}, outside 0 … {size - 1}: is this its constraint?"
                )
        before = _states_before(states, begins, lengths, starts)
        no_tokens = np.full(len(records), self._con.initial_state, np.int32)
        verdict, error = judge(states, begins, lengths, no_tokens, self._con.finals)
        broken = np.flatnonzero(verdict == BROKEN)

        self.tokens += len(states)
        self.verdicts += np.bincount(verdict, minlength=len(VERDICTS))
        self.visits += np.bincount(before[before >= _core.INITIAL], minlength=len(self.visits))
        self.breaks += np.bincount(before[(begins + error)[broken]], minlength=len(self.breaks))
        self.break_positions = _added(self.break_positions, np.bincount((error - starts)[broken]))
        return broken

    def leave_out(self, problem: Problem) -> None:
        """Count a record that could not be read or judged."""
        self.left_out += 1
        if len(self.problems) < LISTED:
            self.problems.append(problem)

    @cached_property
    def allowed(self) -> npt.NDArray[np.int64]:
        """[num_states]: how many tokens are allowed in each state that was visited, 0 for the others."""
        found = np.zeros(len(self.visits), np.int64)
        visited = np.flatnonzero(self.visits)
        found[visited] = allowed_counts(self._con, visited)
        return found

    @property
    def records(self) -> int:
        """Number of records, without those that are left out."""
        return int(self.verdicts.sum())

    @property
    def constrained(self) -> int:
        """Number of tokens that were chosen under a mask: not behind an error, nor behind EOS."""
        return int(self.visits.sum())

    @property
    def forced(self) -> int:
        """Number of tokens that were chosen where only one was allowed."""
        return int(self.visits[self.allowed == 1].sum())

    @property
    def median_allowed(self) -> int:
        """The number of allowed tokens that is not exceeded at half of the constrained tokens; 0 without any."""
        order = np.argsort(self.allowed, kind="stable")
        reached = np.cumsum(self.visits[order])
        return int(self.allowed[order][np.searchsorted(reached, (self.constrained + 1) // 2)]) if reached[-1] else 0


def _require_shape(record: Record) -> None:
    ids, states, start, label = record
    if np.ndim(ids) != 1 or np.shape(ids) != np.shape(states):
        raise InputError(
            f"record {label!r} has tokens of shape {np.shape(ids)} and states of shape {np.shape(states)}: expected one"
            " state for each token"
        )
    if not 0 <= start <= len(states):
        raise InputError(f"record {label!r} starts at {start}, which lies outside 0 … {len(states)}, its tokens")


def _states_before(
    states: npt.NDArray[np.int32],
    begins: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
) -> npt.NDArray[np.int32]:
    """The state in which each token was chosen: that of the token before it, at a row's start the initial one."""
    before = np.empty_like(states)
    before[1:] = states[:-1]
    before[begins[lengths > 0]] = _core.FREE
    begun = (starts < lengths) & (lengths > 0)
    first = (begins + starts)[begun]
    before[first] = np.where(states[first] == _core.FREE, _core.FREE, _core.INITIAL)
    return before


def _added(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    longer, shorter = (a, b) if len(a) >= len(b) else (b.astype(np.int64), a)
    longer[: len(shorter)] += shorter
    return longer
