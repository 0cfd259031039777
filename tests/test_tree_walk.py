"""Walks from given states: in pieces, and along every branch of a tree. Held to one walk from the beginning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm
from tests.compare import outlines_vocabulary
from tests.vocabularies import synthetic

SMALL = synthetic(num_tokens=600, seed=1)
SIZE = SMALL.vocabulary.size
REGEX = r'\{"n":-?[0-9]{1,3}(,[0-9]{1,3}){0,2}\}'
CON = fm.Constraint.from_regex(REGEX, SMALL.vocabulary)
# Constraints of every kind: random tokens keep most texts of the second alive.
CONSTRAINTS = {
    "closed": CON,
    "wide": fm.Constraint.from_regex('[^"]{0,9}x?', SMALL.vocabulary),
    "behind a text": CON.after("é{"),
}
LIKELY = [SMALL.tokens.index(piece) for piece in (b"{", b'"', b"n", b":", b"-", b"1", b",", b"}", b"\xc3", b"\xa9")]
TOKEN = st.one_of(st.sampled_from([*LIKELY, SMALL.eos]), st.integers(0, SIZE - 1))
ROW = st.lists(TOKEN, max_size=12)


def last(con: fm.Constraint, row: list[int]) -> int:
    return int(con.walk([row])[0, -1]) if row else con.initial_state


def path_to(parents: list[int], node: int) -> list[int]:
    """The nodes from the root down to this one."""
    path = [node]
    while parents[path[0]] >= 0:
        path.insert(0, parents[path[0]])
    return path


def a_valid_row() -> list[int]:
    return [SMALL.tokens.index(bytes([byte])) for byte in b'{"n":-12,345}']


# ---- trees -------------------------------------------------------------------------------------------------------


@st.composite
def shapes(draw, size):
    """Chains, stars and whatever lies between."""
    return [draw(st.one_of(st.just(node - 1), st.integers(-1, node - 1))) for node in range(size)]


def assert_paths(con, prefixes, tokens, parents, states):
    """Each node's state is that of one walk over the prefix and the path to the node."""
    assert (states.shape, states.dtype) == (np.shape(tokens), np.int32)
    for prefix, row, shape, found in zip(prefixes, tokens, parents, states, strict=True):
        for node, state in enumerate(found):
            assert state == last(con, [*prefix, *(row[step] for step in path_to(shape, node))])


@pytest.mark.parametrize("name", CONSTRAINTS)
@given(data=st.data())
def test_every_path_of_random_trees(name, data):
    con = CONSTRAINTS[name]
    rows, nodes = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 12))
    prefixes = [data.draw(ROW) for _ in range(rows)]
    tokens = np.array([[data.draw(TOKEN) for _ in range(nodes)] for _ in range(rows)], int).reshape(rows, nodes)
    roots = [last(con, prefix) for prefix in prefixes]
    shared = data.draw(shapes(nodes))
    assert_paths(con, prefixes, tokens, [shared] * rows, con.walk_tree(roots, tokens, shared))
    own = [data.draw(shapes(nodes)) for _ in range(rows)]
    assert_paths(con, prefixes, tokens, own, con.walk_tree(roots, tokens, np.array(own, int).reshape(rows, nodes)))


def test_a_valid_answer_with_side_branches():
    answer = a_valid_row()
    tokens, parents, spine = [], [], -1
    for token in answer:  # a wrong guess beside each right token
        tokens += [token, LIKELY[2] if token != LIKELY[2] else LIKELY[0]]
        parents += [spine, spine]
        spine = len(tokens) - 2
    states = CON.walk_tree([CON.initial_state], [tokens], parents)
    np.testing.assert_array_equal(states[0, ::2], CON.walk([answer])[0])
    assert (states[0, 1::2] == fm.DEAD).all()
    assert CON.allowed(states).shape == (1, len(tokens), SIZE)


def test_below_a_dead_node_all_is_dead():
    chain = np.array([[LIKELY[0], LIKELY[0], *a_valid_row()]])
    states = CON.walk_tree([CON.initial_state], chain, np.arange(chain.shape[1]) - 1)
    assert (states[0, 1:] == fm.DEAD).all()


def test_the_named_states_as_roots():
    tokens, parents = [[SMALL.eos, SMALL.eos, LIKELY[0]]] * 3, [-1, 0, -1]
    states = CON.walk_tree([fm.FREE, fm.DONE, fm.DEAD], tokens, parents)
    assert states.tolist() == [[fm.FREE] * 3, [fm.DONE, fm.DONE, fm.DEAD], [fm.DEAD] * 3]


def test_an_index_s_table_has_trees_too():
    outlines = pytest.importorskip("outlines_core")
    index = outlines.Index(REGEX, outlines_vocabulary(SMALL.tokens, SMALL.eos))
    con = fm.Constraint.from_index(index, SMALL.vocabulary)
    answer = a_valid_row()
    tokens = [answer[5:] + answer[6:], answer[:8] + answer[:7]]
    half = len(answer) - 5  # a second branch leaves the first one behind its first node
    parents = [*range(-1, half - 1), 0, *range(half, len(tokens[0]) - 1)]
    prefixes = [answer[:5], []]
    states = con.walk_tree([last(con, prefix) for prefix in prefixes], tokens, parents)
    assert_paths(con, prefixes, tokens, [parents] * 2, states)
    assert con.is_final(states[0, half - 1])
    assert con.is_final(states[0, -1])


def test_no_rows_and_no_nodes():
    for tokens, parents, states in (
        (np.empty((0, 5), int), [-1] * 5, []),
        (np.empty((0, 5), int), np.empty((0, 5), int), np.empty(0, np.int32)),
        ([[], []], [], [3, 3]),
        ([[], []], [[], []], [3, 3]),
    ):
        found = CON.walk_tree(states, tokens, parents)
        assert (found.shape, found.dtype) == (np.shape(tokens), np.int32)


def forest(rows=300, nodes=60):
    draw = np.random.default_rng(0)
    tokens = draw.choice([*LIKELY, *range(SIZE)], (rows, nodes))
    parents = (draw.random((rows, nodes)) * (np.arange(nodes) + 1)).astype(int) - 1
    return np.array(draw.integers(0, CON.num_states, rows), np.int32), tokens, parents


@pytest.mark.parametrize("count", [1, 2, 8])
def test_any_number_of_threads(threads, count):
    states, tokens, parents = forest()
    threads(count)
    found = CON.walk_tree(states, tokens, parents)
    one_by_one = np.empty_like(found)
    for node in range(tokens.shape[1]):
        above = np.where(parents[:, node] < 0, states, one_by_one[np.arange(len(states)), parents[:, node]])
        one_by_one[:, node] = CON.advance(above, tokens[:, node])
    np.testing.assert_array_equal(found, one_by_one)
    tokens[7, 59] = tokens[200:, 0] = SIZE
    with pytest.raises(fm.TokenRangeError, match=f"{SIZE} at row 7, node 59"):
        CON.walk_tree(states, tokens, parents)


def test_any_form_of_tree():
    states, tokens, parents = forest(rows=5, nodes=6)
    expected = CON.walk_tree(states, tokens, parents)
    for form in (
        lambda a: a.tolist(),
        lambda a: a.astype(np.int16),
        lambda a: a.astype(">i8"),
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    ):
        np.testing.assert_array_equal(CON.walk_tree(form(states), form(tokens), form(parents)), expected)


def test_tensors_in_tensors_out():
    torch = pytest.importorskip("torch")
    states, tokens, parents = forest(rows=5, nodes=6)
    expected = CON.walk_tree(states, tokens, parents)
    for roots, given_tokens in ((torch.from_numpy(states), tokens), (states, torch.from_numpy(tokens))):
        found = CON.walk_tree(roots, given_tokens, torch.from_numpy(parents))
        assert isinstance(found, torch.Tensor)
        assert found.dtype == torch.int32
        np.testing.assert_array_equal(found.numpy(), expected)


# ---- walks that go on from given states ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONSTRAINTS)
@given(data=st.data())
def test_a_walk_in_pieces_is_one_walk(name, data):
    con = CONSTRAINTS[name]
    width = data.draw(st.integers(1, 15))
    tokens = np.array(data.draw(st.lists(st.lists(TOKEN, min_size=width, max_size=width), min_size=1, max_size=4)))
    cut = data.draw(st.integers(1, width))
    whole = con.walk(tokens)
    np.testing.assert_array_equal(con.walk(tokens[:, cut:], states=whole[:, cut - 1]), whole[:, cut:])
    # The first piece may as well stand before the start: at start - 1 the state is the one given.
    again = con.walk(tokens, start=cut, states=whole[:, cut - 1])
    np.testing.assert_array_equal(again[:, cut - 1 :], whole[:, cut - 1 :])
    assert (again[:, : cut - 1] == fm.FREE).all()


def test_padding_repeats_the_given_state():
    states = [fm.DONE, 5, fm.FREE, CON.initial_state]
    assert CON.walk([[], [], [], [LIKELY[0]]], states=states)[:3].tolist() == [[fm.DONE], [5], [fm.FREE]]
    padded = np.zeros((4, 3), int)
    assert CON.walk(padded, lengths=[0] * 4, states=states).tolist() == [[state] * 3 for state in states]
    assert CON.walk([[7, 7]], start=2, states=[9]).tolist() == [[fm.FREE, 9]]


def test_given_states_behind_a_token():
    tokens = [[1, 2, 1, LIKELY[0]], [3, 3, 3, 3]]
    states = CON.walk(tokens, start=fm.after(2), states=[fm.DONE, fm.DONE])
    assert states.tolist() == [[fm.FREE, fm.DONE, fm.DEAD, fm.DEAD], [fm.FREE] * 4]


def test_the_initial_state_given_changes_nothing():
    rows = [a_valid_row(), [], [5], a_valid_row()[:4]]
    initial = np.full(4, CON.initial_state)
    np.testing.assert_array_equal(CON.walk(rows, states=initial), CON.walk(rows))
    torch = pytest.importorskip("torch")
    found = CON.walk(torch.tensor([a_valid_row()]), states=torch.tensor([CON.initial_state]))
    np.testing.assert_array_equal(found.numpy(), CON.walk([a_valid_row()]))


# ---- bad input -----------------------------------------------------------------------------------------------------

N = CON.num_states
TWO = [[1, 2, 3], [4, 5, 6]]
BAD = {
    "parent of itself": (fm.InputError, "parent 1 at row 0, node 1", lambda: CON.walk_tree([3, 3], TWO, [-1, 1, 0])),
    "parent behind": (fm.InputError, "parent 2 at row 0, node 0", lambda: CON.walk_tree([3, 3], TWO, [2, 0, 0])),
    "parent negative": (fm.InputError, "parent -2 at row 0, node 2", lambda: CON.walk_tree([3, 3], TWO, [-1, 0, -2])),
    "parent in row 1": (
        fm.InputError,
        "parent 9 at row 1, node 1",
        lambda: CON.walk_tree([3, 3], TWO, [[-1, 0, 0], [-1, 9, 0]]),
    ),
    "parent huge": (fm.InputError, "row 0, node 0", lambda: CON.walk_tree([3, 3], TWO, [2**63 - 1, 0, 0])),
    "parents floats": (fm.InputTypeError, "parents.*float64", lambda: CON.walk_tree([3, 3], TWO, [-1.0, 0, 1])),
    "parents of another length": (
        fm.InputError,
        r"\(3,\), one tree for all rows, or \(2, 3\), got \(2,\)",
        lambda: CON.walk_tree([3, 3], TWO, [-1, 0]),
    ),
    "parents of one row": (fm.InputError, r"got \(1, 3\)", lambda: CON.walk_tree([3, 3], TWO, [[-1, 0, 1]])),
    "tree token beyond": (
        fm.TokenRangeError,
        "600 at row 1, node 2 ",
        lambda: CON.walk_tree([3, 3], [[1, 2, 3], [4, 5, 600]], [-1, 0, 1]),
    ),
    "tree token negative": (fm.TokenRangeError, "-1 at row 0, node 0", lambda: CON.walk_tree([3], [[-1]], [-1])),
    "tree of one row": (fm.InputError, r"\[batch, nodes\].*\(3,\)", lambda: CON.walk_tree([3], [1, 2, 3], [-1, 0, 1])),
    "tree tokens floats": (fm.InputTypeError, "tokens.*float64", lambda: CON.walk_tree([3], [[1.0]], [-1])),
    "ragged tree": (fm.InputTypeError, "tokens", lambda: CON.walk_tree([3, 3], [[1], [1, 2]], [-1])),
    "root beyond": (fm.TokenRangeError, f"state {N} at row 1 ", lambda: CON.walk_tree([3, N], TWO, [-1, 0, 1])),
    "root beyond, no nodes": (fm.TokenRangeError, f"state {N} at row 0", lambda: CON.walk_tree([N], [[]], [])),
    "roots too few": (fm.InputError, r"each of the 2 rows.*\(1,\)", lambda: CON.walk_tree([3], TWO, [-1, 0, 1])),
    "roots a number": (fm.InputError, r"each of the 2 rows.*\(\)", lambda: CON.walk_tree(3, TWO, [-1, 0, 1])),
    "roots floats": (fm.InputTypeError, "states.*float64", lambda: CON.walk_tree([3.0, 3.0], TWO, [-1, 0, 1])),
    "walk's state beyond": (fm.TokenRangeError, f"state {N} at row 1", lambda: CON.walk(TWO, states=[3, N])),
    "walk's state negative": (fm.TokenRangeError, "state -1 at row 0", lambda: CON.walk(TWO, states=[-1, 3])),
    "walk's state beyond 32 bits": (fm.TokenRangeError, "32 bits", lambda: CON.walk(TWO, states=[2**32, 3])),
    "walk's states too many": (fm.InputError, r"each of the 2 rows.*\(3,\)", lambda: CON.walk(TWO, states=[3] * 3)),
    "walk's states a matrix": (fm.InputError, r"\(2, 3\)", lambda: CON.walk(TWO, states=TWO)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    error, words, call = BAD[name]
    with pytest.raises(error, match=words):
        call()
