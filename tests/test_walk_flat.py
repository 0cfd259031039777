"""Rows that stand one behind the other: the states that `walk` gives each of them, and nothing written between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm

VOCABULARY = fm.Vocabulary([b"a", b"b", b"ab", b"x", None, None], eos_token_id=4, size=8)
CON = fm.Constraint.from_regex("[ab]{2,5}", VOCABULARY)
UNWRITTEN = -7


@st.composite
def flat_rows(draw):
    """Tokens, offsets that need not cover them, and one start for each row."""
    lengths = draw(st.lists(st.integers(0, 7), max_size=12))
    offsets = np.cumsum([draw(st.integers(0, 3)), *lengths])
    behind = draw(st.integers(0, 3))
    count = int(offsets[-1]) + behind
    tokens = draw(st.lists(st.integers(0, 7), min_size=count, max_size=count))
    return tokens, offsets, [draw(st.integers(0, length)) for length in lengths]


def one_by_one(tokens, offsets, starts):
    """Each row through `walk` by itself."""
    states = np.full(len(tokens), UNWRITTEN, np.int32)
    for begin, end, start in zip(offsets[:-1], offsets[1:], starts, strict=True):
        states[begin:end] = CON.walk([tokens[begin:end]], start=start)[0]
    return states


@given(flat_rows(), st.sampled_from([np.int32, np.int64]), st.sampled_from([np.int32, np.int64, np.uint16]))
def test_the_states_of_each_row(rows, token_type, offset_type):
    tokens, offsets, starts = rows
    out = np.full(len(tokens), UNWRITTEN, np.int32)
    walked = CON.walk_flat(np.array(tokens, token_type), offsets.astype(offset_type), start=starts, out=out)
    np.testing.assert_array_equal(out, one_by_one(tokens, offsets, starts))
    assert walked is out


@given(flat_rows(), st.integers(0, 7))
def test_rows_that_wait_for_a_token(rows, token_id):
    tokens, offsets, starts = rows
    out = np.full(len(tokens), UNWRITTEN, np.int32)
    CON.walk_flat(tokens, offsets, start=fm.after(token_id), out=out)
    np.testing.assert_array_equal(out, one_by_one(tokens, offsets, [fm.after(token_id)] * len(starts)))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("start", [0, fm.after(4)], ids=["from the beginning", "after"])
def test_any_number_of_threads(threads, count, start):
    """100,000 tokens, and rows from none to thousands, so that the chunks are of unequal weight."""
    draw = np.random.default_rng(0)
    lengths = [*draw.integers(0, 30, 3_000), 20_000, 0, 0, *draw.integers(0, 3, 5_000), 30_000]
    offsets = np.cumsum([0, *lengths])
    tokens = draw.choice(8, offsets[-1], p=[0.4, 0.4, 0.05, 0.01, 0.1, 0.02, 0.01, 0.01])
    expected = one_by_one(tokens, offsets, [start] * len(lengths))
    assert {fm.DONE, fm.DEAD} < set(expected.tolist())
    threads(count)
    np.testing.assert_array_equal(CON.walk_flat(tokens, offsets, start=start), expected)


def test_no_rows():
    assert CON.walk_flat([], [0]).shape == (0,)
    assert CON.walk_flat([0, 1], [2]).shape == (2,)


def test_a_bad_token_is_named_by_its_row():
    tokens, offsets = [0, 8, 0, 0, -1], [0, 1, 1, 2, 5]
    with pytest.raises(fm.TokenRangeError, match="token id 8 at row 2, position 0"):
        CON.walk_flat(tokens, offsets)
    with pytest.raises(fm.TokenRangeError, match="token id -1 at row 3, position 2"):
        CON.walk_flat(tokens, offsets, start=[0, 0, 1, 0])  # what stands before a start is not looked at


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 2, 1], "ascend, got 2 and then 1 for row 1"),
        ([0, 4], r"within 0 … 3, the tokens, got 0 … 4"),
        ([-1, 3], r"within 0 … 3, the tokens, got -1 … 3"),
        ([], r"offsets \[B \+ 1\], got shapes \(3,\) and \(0,\)"),
        (3, r"got shapes \(3,\) and \(\)"),
        ([[0, 3]], r"got shapes \(3,\) and \(1, 2\)"),
    ],
)
def test_bad_offsets_are_named(offsets, message):
    with pytest.raises(fm.InputError, match=message):
        CON.walk_flat([0, 1, 2], offsets)


def test_other_bad_arguments_are_refused():
    with pytest.raises(fm.InputError, match=r"tokens \[N\].*\(1, 2\)"):
        CON.walk_flat([[0, 1]], [0, 2])
    with pytest.raises(fm.InputTypeError, match="tokens must be integers, got dtype float64"):
        CON.walk_flat([0.5], [0, 1])
    with pytest.raises(fm.InputError, match=r"start 3 of row 1 lies outside 0 … 2"):
        CON.walk_flat([0, 1], [0, 0, 2], start=[0, 3])
    with pytest.raises(fm.InputError, match="one for each of the 2 rows"):
        CON.walk_flat([0, 1], [0, 0, 2], start=[0, 1, 2])
    with pytest.raises(fm.TokenRangeError, match="token id 8"):
        CON.walk_flat([0, 1], [0, 2], start=fm.after(8))
    with pytest.raises(fm.InputError, match="out"):
        CON.walk_flat([0, 1], [0, 2], out=np.empty(3, np.int32))
