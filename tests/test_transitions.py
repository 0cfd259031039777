"""The table of all transitions against single steps."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm
from fastmask.transitions import Transitions
from tests.cases import AFFECTED_BY_OUTLINES_MATCH_DELAY, READ_AS_FIRST_CHOICE_BY_OUTLINES, REGEXES, SCHEMAS
from tests.compare import outlines_vocabulary
from tests.interruption import interrupted_after
from tests.test_random_vocabularies import vocabularies

CASES = REGEXES + AFFECTED_BY_OUTLINES_MATCH_DELAY + READ_AS_FIRST_CHOICE_BY_OUTLINES


def one_step(con: fm.Constraint) -> np.ndarray:
    """int32 [num_states, vocab_size]: every token in every state, through the walk, which knows no classes."""
    states, tokens = np.meshgrid(np.arange(con.num_states), np.arange(con.vocab_size), indexing="ij")
    return con.advance(states, tokens)


def assert_same_table(con: fm.Constraint) -> Transitions:
    """Every entry of the table is the single step, and no smaller table could say so."""
    table = con.transitions()
    following = one_step(con)
    assert table.class_of.shape == (con.vocab_size,)
    assert (table.class_of.dtype, table.next.dtype) == (np.int32, np.int32)
    np.testing.assert_array_equal(table.next[:, table.class_of], following)

    nowhere = np.full(con.num_states, fm.DEAD)
    nowhere[fm.FREE] = fm.FREE
    np.testing.assert_array_equal(table.next[:, 0], nowhere)
    assert len(np.unique(table.next, axis=1).T) == table.num_classes, "two classes are the same"
    used, first = np.unique(table.class_of, return_index=True)
    assert set(used) | {0} == set(range(table.num_classes)), "a class without a token"
    assert (np.diff(first[used > 0]) > 0).all(), "classes are numbered in the order of their lowest token"
    return table


# ---- the table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("vocabulary", ["synthetic", "bpe"])
def test_every_token_in_every_state(case, vocabulary, request):
    assert_same_table(fm.Constraint.from_regex(case.regex, request.getfixturevalue(vocabulary).vocabulary))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_token_in_every_state_of_a_schema(name, sample):
    table = assert_same_table(fm.Constraint.from_schema(SCHEMAS[name], sample.vocabulary))
    assert table.num_classes < 1_000, "tokens that no state tells apart share a column"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_token_in_every_state_of_an_index(case, small):
    outlines = pytest.importorskip("outlines_core")
    index = outlines.Index(case.regex, outlines_vocabulary(small.tokens, small.eos))
    assert_same_table(fm.Constraint.from_index(index, small.vocabulary))


@given(st.sampled_from(CASES), vocabularies())
def test_any_vocabulary(case, vocabulary):
    """Empty tokens, several EOS ids, special tokens, columns beyond the tokens; most lack a byte that is needed."""
    tokens, eos, size = vocabulary
    con = fm.Constraint.from_regex(case.regex, fm.Vocabulary(tokens, eos, size))
    table = assert_same_table(con)
    assert len(set(table.class_of[eos])) == 1
    assert not table.class_of[[i for i in range(len(tokens), size) if i not in eos]].any()


def test_a_token_that_ends_within_a_character():
    """It is allowed where the character is, and leads elsewhere: masks may take both at once, the table may not."""
    tokens = [b'"', "é".encode(), "é".encode()[:1], "日x".encode(), "日".encode()[:2], b"a", b"a\xe6", None]
    con = fm.Constraint.from_regex('"[^"]*"', fm.Vocabulary(tokens, eos_token_id=7))
    table = assert_same_table(con)
    inside = con.advance(con.initial_state, 0)
    assert [token for token in range(7) if table.next[inside, table.class_of[token]] == inside] == [1, 3, 5]
    assert con.allowed_tokens(inside).tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_table(small, threads, count):
    def table():
        return fm.Constraint.from_schema(SCHEMAS["article"], small.vocabulary).transitions()

    threads(8)
    expected = table()
    threads(count)
    np.testing.assert_array_equal(table().class_of, expected.class_of)
    np.testing.assert_array_equal(table().next, expected.next)


def test_the_table_is_made_once_and_not_carried(small):
    con = fm.Constraint.from_schema(SCHEMAS["article"], small.vocabulary)
    before, pickled = con.nbytes, pickle.dumps(con)
    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(lambda _: con.transitions(), range(16)))
    assert all(table is tables[0] for table in tables)
    assert con.nbytes - before == tables[0].nbytes > tables[0].next.nbytes
    assert pickle.dumps(con) == pickled
    assert not tables[0].next.flags.writeable


def test_a_table_beyond_its_budget_is_refused(small):
    def con():
        return fm.Constraint.from_regex("[a-z]{0,40}", small.vocabulary)

    table = con().transitions()
    needed = table.nbytes
    assert con().transitions(needed).nbytes == needed
    figures = rf"{needed} bytes \({con().num_states} states, {table.num_classes} classes.*limit is {needed - 1}"
    with pytest.raises(fm.CompileLimitError, match=figures + "; raise max_bytes"):
        con().transitions(needed - 1)
    for budget in (0, -1):
        with pytest.raises(fm.CompileLimitError, match=f"limit is {budget}"):
            con().transitions(budget)
    assert con().transitions(2**80).nbytes == needed
    with pytest.raises(fm.InputTypeError, match=r"max_bytes.*1\.5"):
        con().transitions(1.5)


def test_a_long_table_can_be_interrupted(synthetic):
    con = fm.Constraint.from_regex("[a-z]{0,200000}", synthetic.vocabulary, max_states=10**6)
    with interrupted_after(0.2):
        con.transitions(2**50)
    assert con.walk([[ord("a")]])[0, -1] > con.initial_state
