"""Bytes that must come next, against single steps under the vocabulary of all bytes."""

from __future__ import annotations

import pytest

import fastmask as fm
from tests.cases import AFFECTED_BY_OUTLINES_MATCH_DELAY, READ_AS_FIRST_CHOICE_BY_OUTLINES, REGEXES, SCHEMAS

EOS = 256
BYTES = fm.Vocabulary([*(bytes([byte]) for byte in range(EOS)), None], eos_token_id=EOS)
CASES = REGEXES + AFFECTED_BY_OUTLINES_MATCH_DELAY + READ_AS_FIRST_CHOICE_BY_OUTLINES


def assert_forced(con: fm.Constraint) -> int:
    """In every state: a byte is forced where it is the one token allowed. Returns how many were, EOS not among them."""
    count = 0
    for start in range(con.num_states):
        expected, state = bytearray(), start
        while len(allowed := con.allowed_tokens(state)) == 1 and allowed[0] != EOS:
            expected.append(allowed[0])
            state = con.advance(state, int(allowed[0]))
        assert con.forced_bytes(start) == bytes(expected)
        count += len(expected)
    return count


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_state_of_a_pattern(case):
    assert_forced(fm.Constraint.from_regex(case.regex, BYTES))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_state_of_a_schema(name):
    assert assert_forced(fm.Constraint.from_schema(SCHEMAS[name], BYTES))


def test_not_beyond_where_the_text_may_end():
    con = fm.Constraint.from_regex("ab(cd)?", BYTES)
    assert con.forced_bytes(con.initial_state) == b"ab"
    assert con.forced_bytes(con.walk([[*b"abc"]])[0, -1]) == b"d"
    assert assert_forced(con) == 2 + 1 + 1


def test_nothing_before_the_trigger():
    con = fm.Constraint.from_regex("yes|no", BYTES).after("<a>")
    assert con.forced_bytes(con.initial_state) == b""
    assert con.forced_bytes(con.walk([[*b"hm <a>y"]])[0, -1]) == b"es"
    assert_forced(con)
