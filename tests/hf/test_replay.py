"""Rows that grow, shrink, change places and number, read on from where they stood: always as if read from scratch."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm
from fastmask import _core
from tests.cases import SCHEMAS
from tests.compare import outlines_vocabulary

TRIGGER = 77


@pytest.fixture(scope="module", params=["regex", "schema", "index"])
def con(request, small):
    if request.param == "regex":
        return fm.Constraint.from_regex("[a-z]+( [a-z0-9]+)*!", small.vocabulary)
    if request.param == "schema":
        return fm.Constraint.from_schema(SCHEMAS["article"], small.vocabulary)
    from outlines_core import Index

    index = Index("[a-z]+( [a-z0-9]+)*!", outlines_vocabulary(small.tokens, small.eos))
    return fm.Constraint.from_index(index, small.vocabulary)


def from_scratch(con: fm.Constraint, rows: np.ndarray, trigger: int | None) -> np.ndarray:
    """The state of each row [B, t], by the batch walk."""
    if not rows.shape[1]:
        return np.full(len(rows), fm.FREE if trigger is not None else con.initial_state, np.int32)
    return con.walk(rows, start=0 if trigger is None else fm.after(trigger))[:, -1]


@cache
def allowed_tokens(con: fm.Constraint, state: int) -> list[int]:
    return con.allowed_tokens(state).tolist()


class Batch:
    """Rows of ids and what may happen to them between two calls."""

    def __init__(self, con: fm.Constraint, trigger: int | None) -> None:
        self.con, self.trigger = con, trigger
        self.rows = np.empty((2, 0), np.int64)

    def token(self, state: int, draw: random.Random) -> int:
        """Mostly one that keeps the row alive; now and then the trigger, or anything."""
        kind = draw.random()
        if kind < 0.1 and self.trigger is not None:
            return self.trigger
        if kind < 0.15:
            return draw.randrange(self.con.vocab_size)
        return draw.choice(allowed_tokens(self.con, state))

    def grow(self, amount: int, draw: random.Random) -> None:
        for _ in range(amount):
            column = [[self.token(state, draw)] for state in from_scratch(self.con, self.rows, self.trigger).tolist()]
            self.rows = np.concatenate([self.rows, np.array(column, np.int64).reshape(-1, 1)], axis=1)

    def rewind(self, amount: int, draw: random.Random) -> None:
        self.rows = self.rows[:, : max(0, self.rows.shape[1] - amount)]

    def reorder(self, amount: int, draw: random.Random) -> None:
        self.rows = self.rows[[draw.randrange(len(self.rows)) for _ in self.rows]]

    def resize(self, amount: int, draw: random.Random) -> None:
        self.rows = self.rows[[draw.randrange(len(self.rows)) for _ in range(amount)]]

    def replace(self, amount: int, draw: random.Random) -> None:
        """One token in the middle: what stood behind it is another text now."""
        if self.rows.size:
            self.rows = self.rows.copy()
            self.rows[draw.randrange(len(self.rows)), draw.randrange(self.rows.shape[1])] = draw.choice([TRIGGER, 5, 6])

    def begin(self, amount: int, draw: random.Random) -> None:
        self.rows = np.empty((amount, 0), np.int64)


HAPPENINGS = st.tuples(
    st.sampled_from([Batch.grow] * 4 + [Batch.rewind, Batch.reorder, Batch.resize, Batch.replace, Batch.begin]),
    st.integers(1, 6),
)


@pytest.mark.parametrize("trigger", [None, TRIGGER])
@given(happenings=st.lists(HAPPENINGS, max_size=25), seed=st.integers(0, 2**32))
def test_rows_are_read_as_if_from_scratch(con, trigger, happenings, seed):
    replay, batch, draw = _core.Replay(con.core, trigger), Batch(con, trigger), random.Random(seed)
    for happen, amount in happenings:
        happen(batch, amount, draw)
        np.testing.assert_array_equal(replay.read(batch.rows)[0], from_scratch(con, batch.rows, trigger))


@pytest.mark.parametrize("trigger", [None, TRIGGER])
def test_rows_read_within_longer_ones(con, trigger):
    """What ``ids[:, prompt_length:]`` is: rows that do not lie side by side."""
    batch, draw = Batch(con, trigger), random.Random(0)
    batch.resize(4, draw)
    batch.grow(20, draw)
    replay = _core.Replay(con.core, trigger)
    for length in (3, 20, 11):
        for part in (batch.rows[:, :length], batch.rows[::2, :length], batch.rows[::-1, 2:length]):
            np.testing.assert_array_equal(replay.read(part)[0], from_scratch(con, part, trigger))


def test_rows_that_lie_otherwise_are_refused(con):
    replay = _core.Replay(con.core, None)
    for rows in (np.zeros((4, 6), np.int64).T, np.zeros((4, 6), np.int64)[:, ::2], np.zeros(4, np.int64)):
        with pytest.raises(fm.InputError):
            replay.read(rows)
    with pytest.raises(TypeError):
        replay.read(np.zeros((4, 6), np.int32))


@pytest.mark.parametrize("trigger", [None, TRIGGER])
@pytest.mark.parametrize("bad", [-1, 600, 2**40, -(2**63)])
def test_an_id_out_of_range_is_named_and_leaves_all_usable(con, trigger, bad):
    batch, draw = Batch(con, trigger), random.Random(1)
    batch.resize(3, draw)
    batch.grow(8, draw)
    if trigger is not None:
        batch.rows[:, 2] = trigger  # ids before it are not looked at
    replay = _core.Replay(con.core, trigger)
    np.testing.assert_array_equal(replay.read(batch.rows[:, :4])[0], from_scratch(con, batch.rows[:, :4], trigger))
    wrong = batch.rows.copy()
    wrong[1, 5] = bad
    for _ in range(2):
        with pytest.raises(fm.TokenRangeError, match=rf"token id {bad} at row 1, generated token 5 .* 0 … 599"):
            replay.read(wrong)
    for length in (8, 6, 4, 8):
        rows = batch.rows[:, :length]
        np.testing.assert_array_equal(replay.read(rows)[0], from_scratch(con, rows, trigger))


def test_ids_before_the_trigger_are_not_looked_at(con):
    replay = _core.Replay(con.core, TRIGGER)
    rows = np.array([[10**9, -5, TRIGGER, 5], [10**9, -5, 7, 5]])
    for length in range(5):
        states = replay.read(rows[:, :length])[0]
        np.testing.assert_array_equal(states, from_scratch(con, rows[:, :length], TRIGGER))
    assert states[1] == fm.FREE != states[0]


@pytest.mark.parametrize("trigger", [None, TRIGGER])
@given(happenings=st.lists(HAPPENINGS, max_size=15), seed=st.integers(0, 2**32))
def test_texts_are_known_by_number(con, trigger, happenings, seed):
    """The same number for the same ids, whatever was read before, and another for others."""
    replay, batch, draw = _core.Replay(con.core, trigger), Batch(con, trigger), random.Random(seed)
    number_of: dict[bytes, int] = {}
    for happen, amount in happenings:
        happen(batch, amount, draw)
        _, before, texts = replay.read(batch.rows)
        for row, number in [*zip(batch.rows[:, :-1], before, strict=True), *zip(batch.rows, texts, strict=True)]:
            assert number_of.setdefault(row.tobytes(), int(number)) == number
    assert len(set(number_of.values())) == len(number_of)
