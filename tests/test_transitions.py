"""The table of all transitions against single steps, and distances against a search by single steps."""

from __future__ import annotations

import pickle
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm
from fastmask.transitions import Transitions
from tests.cases import AFFECTED_BY_OUTLINES_MATCH_DELAY, READ_AS_FIRST_CHOICE_BY_OUTLINES, REGEXES, SCHEMAS
from tests.compare import outlines_vocabulary
from tests.test_random_vocabularies import vocabularies

CASES = REGEXES + AFFECTED_BY_OUTLINES_MATCH_DELAY + READ_AS_FIRST_CHOICE_BY_OUTLINES
DIGITS = fm.Constraint.from_regex(
    "[0-9]{3}", fm.Vocabulary([*(bytes([byte]) for byte in range(256)), None], eos_token_id=256)
)


def one_step(con: fm.Constraint) -> np.ndarray:
    """int32 [num_states, vocab_size]: every token in every state, through the walk, which knows no classes."""
    states, tokens = np.meshgrid(np.arange(con.num_states), np.arange(con.vocab_size), indexing="ij")
    return con.advance(states, tokens)


def within(con: fm.Constraint, states, limits) -> np.ndarray:
    return con.transitions().within(np.array(states, np.int32), np.array(limits, np.int64))


def search(following: np.ndarray, ends: np.ndarray) -> list[int]:
    """Fewest steps to one of `ends` from each state by a search from that state forwards; -1: none."""
    leads_to = [set(row.tolist()) for row in following]
    return [_steps(leads_to, state, set(np.flatnonzero(ends).tolist())) for state in range(len(following))]


def _steps(leads_to: list[set[int]], state: int, ends: set[int]) -> int:
    seen, frontier, steps = {state}, {state}, 0
    while frontier and not frontier & ends:
        frontier = set().union(*(leads_to[s] for s in frontier)) - seen
        seen |= frontier
        steps += 1
    return steps if frontier else -1


def assert_same_table(con: fm.Constraint) -> Transitions:
    """Every entry of the table is the single step, and no smaller table could say so."""
    table = con.transitions()
    following = one_step(con)
    assert table.class_of.shape == (con.vocab_size,)
    assert (table.class_of.dtype, table.next.dtype, table.distance.dtype) == (np.int32, np.int32, np.int32)
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
    assert con.distance(np.arange(con.num_states)).tolist() == expected_distances(con)


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
    needed = table.next.nbytes + table.class_of.nbytes
    assert con().distance(fm.DONE, max_bytes=needed) == 0
    figures = rf"{needed} bytes \({con().num_states} states, {table.num_classes} classes.*limit is {needed - 1}"
    with pytest.raises(fm.CompileLimitError, match=figures + "; raise max_bytes"):
        con().distance(fm.DONE, max_bytes=needed - 1)
    for budget in (0, -1):
        with pytest.raises(fm.CompileLimitError, match=f"limit is {budget}"):
            con().distance(fm.DONE, max_bytes=budget)
    assert con().distance(fm.DONE, max_bytes=2**80) == 0
    with pytest.raises(fm.InputTypeError, match=r"max_bytes.*1\.5"):
        con().distance(fm.DONE, max_bytes=1.5)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer signals")
def test_a_long_table_can_be_interrupted(synthetic):
    con = fm.Constraint.from_regex("[a-z]{0,200000}", synthetic.vocabulary, max_states=10**6)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            con.distance(con.initial_state, max_bytes=2**50)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert con.walk([[ord("a")]])[0, -1] > con.initial_state


# ---- distances ----------------------------------------------------------------------------------------------------


def expected_distances(con: fm.Constraint) -> list[int]:
    ends = con.is_final(np.arange(con.num_states))
    expected = search(one_step(con), ends)
    expected[fm.FREE] = 0
    return expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("vocabulary", ["small", "bpe"])
def test_distances(case, vocabulary, request):
    con = fm.Constraint.from_regex(case.regex, request.getfixturevalue(vocabulary).vocabulary)
    assert con.distance(np.arange(con.num_states)).tolist() == expected_distances(con)


def test_distances_of_an_index(small):
    outlines = pytest.importorskip("outlines_core")
    index = outlines.Index("(yes|no)( maybe){2}", outlines_vocabulary(small.tokens, small.eos))
    con = fm.Constraint.from_index(index, small.vocabulary)
    assert con.distance(np.arange(con.num_states)).tolist() == expected_distances(con)


def test_long_tokens_are_short_cuts_and_eos_is_not_counted():
    con = fm.Constraint.from_regex("abcabc", fm.Vocabulary([b"a", b"b", b"c", b"abc", b"bcab", None], eos_token_id=5))
    assert con.distance(con.initial_state) == 2
    assert con.distance(con.walk([[0]])[0]).tolist() == [2]
    assert con.distance(con.walk([[0, 1, 2, 0]])[0]).tolist() == [2, 2, 1, 2]
    assert con.distance(con.walk([[3, 3, 5, 5, 0]])[0]).tolist() == [1, 0, 0, 0, -1]


def test_a_state_that_no_token_leads_out_of():
    """`ab` cannot be spelt, `bc` can; before the first token there is a way."""
    con = fm.Constraint.from_regex("ax|bc", fm.Vocabulary([b"a", b"b", b"c", None], eos_token_id=3))
    after_a, after_b = con.walk([[0], [1]])[:, 0]
    assert con.distance([con.initial_state, after_a, after_b]).tolist() == [2, -1, 1]
    assert within(con, [con.initial_state, after_a, after_b], [9, 9, 9]).tolist() == [
        [False, True, False, False],
        [False, False, False, False],
        [False, False, True, False],
    ]


def test_the_named_states():
    assert [DIGITS.distance(state) for state in (fm.FREE, fm.DONE, fm.DEAD)] == [0, 0, -1]


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (0, 4), (2, 1, 2)])
def test_states_of_any_shape(shape):
    torch = pytest.importorskip("torch")
    states = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) % DIGITS.num_states)
    found = DIGITS.distance(states)
    assert np.shape(found) == shape
    for index in np.ndindex(shape):
        assert np.asarray(found)[index] == DIGITS.distance(int(states[index]))
    tensor = DIGITS.distance(torch.from_numpy(states))
    assert (tensor.shape, tensor.dtype) == (shape, torch.int32)
    assert tensor.tolist() == np.asarray(found).tolist()
    assert torch.equal(DIGITS.is_final(torch.from_numpy(states)), torch.from_numpy(np.asarray(DIGITS.is_final(states))))


def test_one_state_gives_an_int():
    assert type(DIGITS.distance(DIGITS.initial_state)) is int
    assert DIGITS.distance(np.arange(7)).dtype == np.int32


@pytest.mark.parametrize(
    ("states", "expected", "words"),
    [
        (7, fm.TokenRangeError, "state 7.*0 … 6"),
        ([3, -1], fm.TokenRangeError, "state -1"),
        (3.0, fm.InputTypeError, "states.*float64"),
        ("3", fm.InputTypeError, "states"),
    ],
)
def test_bad_states_are_refused(states, expected, words):
    with pytest.raises(expected, match=words):
        DIGITS.distance(states)


# ---- within a limit -------------------------------------------------------------------------------------------------


def brute_force(con: fm.Constraint, state: int, limit: int) -> list[int]:
    """Tokens after which the search by single steps finds an end within the limit."""
    away = expected_distances(con)
    return [
        token
        for token, after in enumerate(con.advance([state] * con.vocab_size, range(con.vocab_size)).tolist())
        if 0 <= away[after] <= limit
    ]


@pytest.mark.parametrize("regex", ["(yes|no)( maybe){2}", "[0-9]{2,3}", "(é|ab)*!?"])
@pytest.mark.parametrize("limit", [-1, 0, 1, 2, 5, 2**40])
def test_within(regex, limit):
    tokens = [*b"yesnomab ! 012".split(b" "), *(bytes([b]) for b in "yesnomab! 012é".encode()), b"yes ma", b""]
    con = fm.Constraint.from_regex(regex, fm.Vocabulary([*tokens, None, None], [len(tokens)], size=len(tokens) + 4))
    states = np.arange(con.num_states)
    found = within(con, states, np.full(con.num_states, limit))
    assert (found.shape, found.dtype) == ((con.num_states, con.vocab_size), bool)
    assert [np.flatnonzero(row).tolist() for row in found] == [brute_force(con, state, limit) for state in states]
    assert found.any() == (limit >= 0)


def test_each_state_has_its_own_limit():
    found = within(DIGITS, [3, 3, 4, 6, 6, fm.FREE, fm.DONE, fm.DEAD], [1, 2, 1, 0, -1, 0, 0, 9])
    assert found.sum(axis=1).tolist() == [0, 10, 10, 1, 0, 257, 1, 0]
    assert found[3, 256], "EOS leads to DONE, which is no token away from the end"
    assert within(DIGITS, [], []).shape == (0, 257)
