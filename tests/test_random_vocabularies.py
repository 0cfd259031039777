"""Vocabularies and texts drawn at random, against the oracle; every width of a packed row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm
from fastmask import _core
from fastmask.regex import compile_regex
from tests import oracle
from tests.cases import AFFECTED_BY_OUTLINES_MATCH_DELAY, READ_AS_FIRST_CHOICE_BY_OUTLINES, REGEXES, TEXTS
from tests.compare import agree_on_rows, packed, same_on_all_states

CASES = [case for case in REGEXES + AFFECTED_BY_OUTLINES_MATCH_DELAY + READ_AS_FIRST_CHOICE_BY_OUTLINES if case.python]
TEXT = " ".join(TEXTS).encode()
WIDTHS = [*range(1, 131), *(multiple + by for multiple in (192, 256, 512, 1024, 4096) for by in (-1, 0, 1))]


@st.composite
def slices(draw, longest):
    """A piece of the cases' own texts; it may begin or end inside a character."""
    begin = draw(st.integers(0, len(TEXT) - 1))
    return TEXT[begin : begin + draw(st.integers(1, longest))]


TOKENS = st.one_of(
    slices(longest=4),
    slices(longest=12),
    st.binary(min_size=1, max_size=3),
    st.sampled_from([None, b"", b"a" * 300, b"abab" * 75, "é".encode() * 150, b"1" * 299 + b"."]),
)


@st.composite
def vocabularies(draw):
    """Tokens with repeats and gaps, one to three EOS ids anywhere, and columns beyond the tokens."""
    tokens = draw(st.lists(TOKENS, max_size=100))
    if tokens and draw(st.booleans()):
        tokens += draw(st.lists(st.sampled_from(tokens), max_size=10))
    size = len(tokens) + draw(st.integers(0, 70)) or 1
    eos = draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=3))
    return tokens, sorted(eos), size


@given(st.sampled_from(CASES), vocabularies())
def test_any_vocabulary_gives_the_oracle_s_masks(compared, case, vocabulary):
    tokens, eos, size = vocabulary
    con = fm.Constraint.from_regex(case.regex, fm.Vocabulary(tokens, eos, size))
    assert con.vocabulary.tokens == [None if i >= len(tokens) or i in eos else tokens[i] for i in range(size)]
    compared["random vocabularies"] += same_on_all_states(
        con, oracle.Walker(oracle.Pattern(case.regex), tokens, eos, size)
    )


@given(st.sampled_from(CASES), vocabularies(), st.data())
def test_any_rows_give_the_oracle_s_states(case, vocabulary, data):
    tokens, eos, size = vocabulary
    con = fm.Constraint.from_regex(case.regex, fm.Vocabulary(tokens, eos, size))
    walker = oracle.Walker(oracle.Pattern(case.regex), tokens, eos, size)
    rows = data.draw(st.lists(st.lists(st.integers(0, size - 1), max_size=12), max_size=4))
    starts = [data.draw(st.integers(0, len(row))) for row in rows]
    agree_on_rows(con, walker, rows, starts, con.walk(rows, start=starts))


def test_a_loop_on_characters_is_none_within_a_character():
    """A state that stays where it is on any character from U+00A0 on, met behind half of one: no regex has it."""
    class_of, _, flags, table = compile_regex("[\\u{a0}-\\u{10ffff}]*").to_arrays()
    following = table.reshape(len(flags), -1)[:, class_of]  # [states, 256], -1: nowhere
    states, symbols = np.nonzero(following >= 0)
    first = len(flags)
    automaton = _core.Automaton.from_transitions(
        np.append(states, first).astype(np.int32),
        np.append(symbols, 0xC3).astype(np.uint8),
        np.append(following[states, symbols], 0).astype(np.int32),
        first + 1,
        first,
        np.array([0], np.int32),
    )
    tokens = [b"\xc3", b"\xc3\xa9", "é€🙂".encode(), None]
    con = fm.Constraint(fm.Vocabulary(tokens, eos_token_id=3), automaton, "half a character, then whole ones")
    assert con.allowed_tokens(con.initial_state).tolist() == [0]
    for state in range(3, con.num_states):
        alive = [token for token in range(len(tokens)) if con.advance(state, token) != fm.DEAD]
        assert con.allowed_tokens(state).tolist() == (alive or [3])


@pytest.mark.parametrize("width", WIDTHS)
def test_every_width_of_a_row(width, compared):
    """Tail bits are 0, also where the row is filled from a background of ones, and where `out` held something else."""
    tokens = [bytes([65 + token_id % 60]) for token_id in range(width)]
    con = fm.Constraint.from_regex('"?[A-Z]*[^A-Z]', fm.Vocabulary(tokens, eos_token_id=width - 1))
    walker = oracle.Walker(oracle.Pattern('"?[A-Z]*[^A-Z]'), tokens, [width - 1])
    compared["widths"] += same_on_all_states(con, walker)

    states = np.arange(con.num_states)
    out = np.full((con.num_states, (width + 31) // 32), -1, np.int32)
    assert con.bitmask(states, out=out) is out
    np.testing.assert_array_equal(out, packed(con.allowed(states)))
    np.testing.assert_array_equal(con.allowed(fm.FREE), np.ones(width, bool))
    for named in (fm.DONE, fm.DEAD):
        np.testing.assert_array_equal(con.allowed_tokens(named), [width - 1])
