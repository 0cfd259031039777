"""Distances to the end against a search by single steps, and the tokens that leave room for the rest."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm
from tests.cases import SCHEMAS
from tests.compare import outlines_vocabulary
from tests.interruption import interrupted_after
from tests.test_random_vocabularies import vocabularies
from tests.test_transitions import CASES, one_step

DIGITS = fm.Constraint.from_regex(
    "[0-9]{3}", fm.Vocabulary([*(bytes([byte]) for byte in range(256)), None], eos_token_id=256)
)
# Strings that count, in each other's neighbourhood: what a `maxLength` makes of a schema.
COUNTED = (
    r"\[(\"[a-e]{0,30}\",)*\"(x|yz){1,9}\"\]",
    "a{40}|b{3,50}c",
    "([0-9]{1,3}\\.){3}[0-9]{1,3}",
    '\\{"a":"[^"]{3,12}","b":\\["[a-z ]{0,12}"(,"[a-z ]{0,12}"){0,2}\\]\\}',
    ".{5,20}!",
)


def within(con: fm.Constraint, states, limits) -> np.ndarray:
    return con.distances.within(np.array(states, np.int32), np.array(limits, np.int64))


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


def expected_distances(con: fm.Constraint) -> list[int]:
    ends = con.is_final(np.arange(con.num_states))
    expected = search(one_step(con), ends)
    expected[fm.FREE] = 0
    return expected


def assert_same_distances(con: fm.Constraint) -> None:
    assert con.distance(np.arange(con.num_states)).tolist() == expected_distances(con)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("vocabulary", ["small", "bpe"])
def test_distances(case, vocabulary, request):
    con = fm.Constraint.from_regex(case.regex, request.getfixturevalue(vocabulary).vocabulary)
    assert_same_distances(con)


def test_distances_of_an_index(small):
    outlines = pytest.importorskip("outlines_core")
    index = outlines.Index("(yes|no)( maybe){2}", outlines_vocabulary(small.tokens, small.eos))
    con = fm.Constraint.from_index(index, small.vocabulary)
    assert_same_distances(con)


@pytest.mark.parametrize("regex", COUNTED)
@pytest.mark.parametrize("vocabulary", ["small", "bpe", "synthetic"])
def test_distances_where_strings_count(regex, vocabulary, request):
    assert_same_distances(fm.Constraint.from_regex(regex, request.getfixturevalue(vocabulary).vocabulary))


@pytest.mark.parametrize("name", SCHEMAS)
def test_distances_of_a_schema(name, sample):
    assert_same_distances(fm.Constraint.from_schema(SCHEMAS[name], sample.vocabulary))


@given(st.sampled_from([case.regex for case in CASES] + list(COUNTED)), vocabularies())
def test_distances_under_any_vocabulary(regex, vocabulary):
    """Empty tokens, several EOS ids, special tokens, columns beyond the tokens; most lack a byte that is needed."""
    assert_same_distances(fm.Constraint.from_regex(regex, fm.Vocabulary(*vocabulary)))


def test_more_classes_of_bytes_than_a_set_of_them_holds():
    """Every byte a class of its own: some share a bit with another, and no way is missed for it."""
    singles = [bytes([byte]) for byte in range(33, 127)]
    regex = "|".join(rf"\\x{byte[0]:02x}{{{1 + byte[0] % 5}}}~!" for byte in singles)
    con = fm.Constraint.from_regex(regex, fm.Vocabulary([*singles, b"~!", b"AAA~!", b"aa~", None], eos_token_id=97))
    assert_same_distances(con)


def test_distances_behind_a_text(small):
    """Thinking states, where tokens without text may come as well, which bring no one nearer to the end."""
    con = fm.Constraint.from_regex("(yes|no)( maybe){2}", small.vocabulary).after("<answer>")
    assert_same_distances(con)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_distances(small, threads, count):
    def found():
        return fm.Constraint.from_regex(COUNTED[3], small.vocabulary).distances.to_end

    threads(8)
    expected = found()
    threads(count)
    np.testing.assert_array_equal(found(), expected)


def test_distances_are_found_once_and_not_carried(small):
    con = fm.Constraint.from_schema(SCHEMAS["article"], small.vocabulary)
    before, pickled = con.nbytes, pickle.dumps(con)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: con.distances, range(16)))
    assert all(distances is found[0] for distances in found)
    assert con.nbytes - before == found[0].nbytes == con.num_states * 4
    assert pickle.dumps(con) == pickled
    assert not found[0].to_end.flags.writeable


def test_a_long_search_can_be_interrupted(synthetic):
    con = fm.Constraint.from_regex("[a-z]{400000}", synthetic.vocabulary, max_states=10**6)
    with interrupted_after(0.05):
        con.distance(con.initial_state)
    assert con.walk([[ord("a")]])[0, -1] > con.initial_state


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
