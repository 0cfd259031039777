"""Alignment: which state stands where, whatever form the batch comes in."""

from __future__ import annotations

import random

import numpy as np
import pytest

import fastmask as fm
from tests import oracle
from tests.cases import SCHEMAS, SENTENCES, answer
from tests.compare import agree_on_rows, packed
from tests.vocabularies import spell

REGEX = r'\{"n":-?[0-9]{1,3}(,[0-9]{1,3}){0,2}\}'
VALID = ['{"n":1}', '{"n":-12,345}', '{"n":0,0,0}']


@pytest.fixture(scope="module")
def con(small):
    return fm.Constraint.from_regex(REGEX, small.vocabulary)


@pytest.fixture(scope="module")
def walker(small):
    return oracle.Walker(oracle.Pattern(REGEX), small.tokens, [small.eos])


@pytest.fixture(scope="module")
def rows(small):
    """Valid, cut, broken, over-long and empty rows, with EOS in every kind of place."""
    draw = random.Random(0)
    texts = VALID * 3 + [text[:-2] for text in VALID] + [text + "}" for text in VALID] + ['{"n":01234}', "no", ""]
    bodies = [spell(small.tokens, text.encode(), draw) for text in texts]
    bodies += [body + [small.eos] * draw.randint(1, 3) + spell(small.tokens, b"x", draw) for body in bodies[:6]]
    prefixes = [[*spell(small.tokens, b"Get well soon", draw), small.eos], [], [small.eos], [5]]
    rows = [draw.choice(prefixes) + body for body in bodies]
    return [*rows, [], [small.eos], [draw.randrange(600) for _ in range(20)]]


def padded(rows, value=0):
    array = np.full((len(rows), max(map(len, rows))), value)
    for line, row in zip(array, rows, strict=True):
        line[: len(row)] = row
    return array, np.array([len(row) for row in rows])


@pytest.mark.parametrize("seed", range(20))
def test_start_per_row(con, walker, rows, seed):
    starts = [random.Random(seed).randint(0, len(row)) for row in rows]
    agree_on_rows(con, walker, rows, starts, con.walk(rows, start=starts))
    agree_on_rows(con, walker, rows, starts, con.walk(rows, start=np.array(starts, np.int16)))


def test_one_start_for_all(con, walker, rows):
    agree_on_rows(con, walker, rows, [0] * len(rows), con.walk(rows))
    long_enough = [row for row in rows if len(row) >= 2]
    agree_on_rows(con, walker, long_enough, [2] * len(long_enough), con.walk(long_enough, start=2))
    agree_on_rows(con, walker, long_enough, [2] * len(long_enough), con.walk(long_enough, start=np.int64(2)))


def test_start_at_the_end_of_each_row(con, walker, rows):
    starts = [len(row) for row in rows]
    states = con.walk(rows, start=starts)
    agree_on_rows(con, walker, rows, starts, states)
    assert [states[i, len(row) - 1] for i, row in enumerate(rows) if row] == [con.initial_state] * sum(map(bool, rows))


def test_start_after_a_token(con, walker, rows, small):
    starts = [oracle.start_after(row, small.eos) for row in rows]
    assert None in starts
    assert any(starts)
    agree_on_rows(con, walker, rows, starts, con.walk(rows, start=fm.after(small.eos)))


def test_lengths_hide_what_stands_behind_them(con, walker, rows):
    starts = [len(row) // 2 for row in rows]
    for filler in (0, -100, 10**12):
        array, lengths = padded(rows, filler)
        agree_on_rows(con, walker, rows, starts, con.walk(array, start=starts, lengths=lengths))
        after = con.walk(array, start=fm.after(filler % 600), lengths=lengths)
        agree_on_rows(con, walker, rows, [oracle.start_after(row, filler % 600) for row in rows], after)


def test_tokens_before_the_start_are_not_looked_at(con):
    np.testing.assert_array_equal(con.walk([[-100, 10**9, 7]], start=3), [[fm.FREE, fm.FREE, con.initial_state]])


def test_check_finds_the_first_error(con, walker, rows, small):
    for start in (0, fm.after(small.eos)):
        starts = [oracle.start_after(row, small.eos) if start else 0 for row in rows]
        found = con.check(rows, start=start)
        expected = [oracle.check(walker, row, first) for row, first in zip(rows, starts, strict=True)]
        np.testing.assert_array_equal(found.first_error, [verdict.first_error for verdict in expected])
        np.testing.assert_array_equal(found.complete, [verdict.complete for verdict in expected])
        assert found.first_error.dtype == np.int64
        assert found.complete.dtype == bool
        assert len(set(found.first_error)) > 2
        assert set(found.complete) == {True, False}


def test_advance_is_one_step_of_walk(con, rows):
    array, lengths = padded(rows)
    states = np.full(len(rows), con.initial_state, np.int32)
    walked = con.walk(array, lengths=lengths)
    for position in range(array.shape[1]):
        inside = position < lengths
        states[inside] = con.advance(states[inside], array[inside, position])
        np.testing.assert_array_equal(states, walked[:, position])


def test_advance_of_single_numbers(con, small):
    state = con.advance(con.initial_state, small.tokens.index(b"{"))
    assert type(state) is int
    assert type(con.is_final(state)) is bool
    assert con.advance(np.int32(con.initial_state), np.int64(small.tokens.index(b"{"))) == state
    assert con.bitmask(state).shape == ((600 + 31) // 32,)
    assert con.allowed(state).shape == (600,)


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (0, 4), (3, 0), (2, 1, 2)])
def test_states_of_any_shape(con, shape):
    states = np.arange(np.prod(shape, dtype=int)).reshape(shape) % con.num_states
    bits, flags, final = con.bitmask(states), con.allowed(states), np.asarray(con.is_final(states))
    assert (bits.shape, flags.shape, final.shape) == ((*shape, 19), (*shape, 600), shape)
    assert (bits.dtype, flags.dtype, final.dtype) == (np.int32, bool, bool)
    np.testing.assert_array_equal(bits, packed(flags) if flags.size else np.empty((*shape, 19)))
    for index in np.ndindex(shape):
        np.testing.assert_array_equal(np.flatnonzero(flags[index]), con.allowed_tokens(states[index]))
    stepped = np.asarray(con.advance(states, np.full(shape, 1)))
    assert (stepped.shape, stepped.dtype) == (shape, np.int32 if shape else np.int64)


def test_the_three_named_states(con, small):
    eos, text = small.eos, small.tokens.index(b"{")
    assert {fm.FREE, fm.DONE, fm.DEAD} == {0, 1, 2}
    assert [con.advance(s, eos) for s in (fm.FREE, fm.DONE, fm.DEAD)] == [fm.FREE, fm.DONE, fm.DEAD]
    assert [con.advance(s, text) for s in (fm.FREE, fm.DONE, fm.DEAD)] == [fm.FREE, fm.DEAD, fm.DEAD]
    assert [con.is_final(s) for s in (fm.FREE, fm.DONE, fm.DEAD)] == [False, True, False]
    assert con.allowed(fm.FREE).all()
    assert con.allowed_tokens(fm.DONE).tolist() == con.allowed_tokens(fm.DEAD).tolist() == [eos]


def test_no_batch_and_no_tokens(con):
    for nothing in ([], np.empty((0, 0), np.int64), np.empty((0, 7), np.int32), (), iter(())):
        states = con.walk(nothing)
        assert (len(states), states.dtype) == (0, np.int32)
    assert con.walk([[], []]).shape == (2, 0)
    assert con.walk(np.empty((3, 0), np.int32)).shape == (3, 0)
    verdict = con.check([[], []])
    assert (verdict.first_error.tolist(), verdict.complete.tolist()) == ([-1, -1], [False, False])
    assert con.check([[]], start=fm.after(3)).complete.tolist() == [False]
    assert con.check([]).complete.tolist() == []


def test_an_empty_row_is_complete_where_nothing_is_a_text(small):
    anything = fm.Constraint.from_regex("a*", small.vocabulary)
    assert anything.check([[], []]).complete.tolist() == [True, True]
    assert anything.check([[], [5]], start=fm.after(5)).complete.tolist() == [False, True]


NUMPY_FORMS = {
    "int32": lambda a: a.astype(np.int32),
    "int64": lambda a: a.astype(np.int64),
    "int16": lambda a: a.astype(np.int16),
    "uint16": lambda a: a.astype(np.uint16),
    "uint32": lambda a: a.astype(np.uint32),
    "uint64": lambda a: a.astype(np.uint64),
    "big-endian": lambda a: a.astype(">i4"),
    "column-major": np.asfortranarray,
    "every second column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "reversed twice": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda a: np.broadcast_to(a, a.shape),
    "list of lists": lambda a: a.tolist(),
    "tuple of tuples": lambda a: tuple(map(tuple, a.tolist())),
    "list of arrays": list,
    "list of mixed rows": lambda a: [a[0].tolist(), *a[1:]],
    "generator of rows": lambda a: (row.tolist() for row in a),
}
TORCH_FORMS = {
    "int32": lambda t: t.int(),
    "int64": lambda t: t.long(),
    "int16": lambda t: t.short(),
    "transposed": lambda t: t.T.contiguous().T,
    "strided": lambda t: t.repeat_interleave(2, dim=1)[:, ::2],
    "list of tensors": list,
}


@pytest.fixture(scope="module")
def batch(rows):
    return padded(rows)[0]


@pytest.mark.parametrize("form", NUMPY_FORMS)
def test_any_form_of_batch(con, batch, form):
    given = NUMPY_FORMS[form](batch)
    states = con.walk(given, start=1)
    assert isinstance(states, np.ndarray)
    np.testing.assert_array_equal(states, con.walk(batch, start=1))


@pytest.mark.parametrize("form", TORCH_FORMS)
def test_tensors_in_tensors_out(con, batch, form):
    torch = pytest.importorskip("torch")
    given = TORCH_FORMS[form](torch.from_numpy(batch))
    states = con.walk(given, start=torch.ones(len(batch), dtype=torch.long))
    assert isinstance(states, torch.Tensor)
    assert states.dtype == torch.int32
    np.testing.assert_array_equal(states.numpy(), con.walk(batch, start=1))
    assert torch.equal(con.bitmask(states), torch.from_numpy(con.bitmask(states.numpy())))
    assert torch.equal(con.allowed(states.T), torch.from_numpy(con.allowed(states.numpy().T)))
    assert torch.equal(con.is_final(states), torch.from_numpy(con.is_final(states.numpy())))
    verdict = con.check(given)
    assert (verdict.first_error.dtype, verdict.complete.dtype) == (torch.int64, torch.bool)
    last = con.advance(states[:, 0], torch.from_numpy(batch[:, 1]))
    assert isinstance(last, torch.Tensor)
    assert torch.equal(last, states[:, 1])


def test_out_is_filled_in_place(con, batch):
    states = con.walk(batch)
    bits, flags = con.bitmask(states), con.allowed(states)
    bits_out, flags_out = np.full_like(bits, -1), np.ones_like(flags)
    assert con.bitmask(states, out=bits_out) is bits_out
    assert con.allowed(states, out=flags_out) is flags_out
    np.testing.assert_array_equal(bits_out, bits)
    np.testing.assert_array_equal(flags_out, flags)
    large = np.full((3, *bits.shape), -1, np.int32)
    con.bitmask(states, out=large[1])
    np.testing.assert_array_equal(large[1], bits)
    assert (large[[0, 2]] == -1).all()


def test_out_may_be_a_tensor(con, batch):
    torch = pytest.importorskip("torch")
    states = con.walk(torch.from_numpy(batch))
    out = torch.zeros(*states.shape, con.vocab_size, dtype=torch.bool)
    assert con.allowed(states, out=out) is out
    assert torch.equal(out, con.allowed(states))


def test_inputs_are_left_alone(con, batch):
    before = batch.copy()
    states = con.walk(batch)
    kept = states.copy()
    con.bitmask(states)
    con.advance(states, batch)
    np.testing.assert_array_equal(batch, before)
    np.testing.assert_array_equal(states, kept)


def test_forced_is_as_far_as_there_is_no_choice(small):
    single_bytes = fm.Vocabulary([*small.tokens[:256], None], eos_token_id=256)
    con = fm.Constraint.from_regex("abc(d|e)f", single_bytes)
    forced = con.forced(con.initial_state)
    assert (forced.tolist(), forced.dtype) == ([*b"abc"], np.int32)
    after_d = con.walk([[*b"abcd"]])[0, -1]
    assert con.forced(after_d)[:2].tolist() == [ord("f"), 256]
    assert con.forced(con.walk([[*b"abc"]])[0, -1]).tolist() == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_spelling_of_an_answer_is_accepted(name, small):
    con = fm.Constraint.from_schema(SCHEMAS[name], small.vocabulary)
    draw = random.Random(0)
    rows = [spell(small.tokens, answer(sentence).encode(), draw) for sentence in SENTENCES for _ in range(20)]
    assert con.check(rows).complete.all()
    assert not con.check([row[:-1] for row in rows]).complete.any()
    assert (con.check([[*row, row[0]] for row in rows]).first_error == [len(row) for row in rows]).all()


@pytest.mark.parametrize("shapes", [((2,), (2, 1)), ((2,), (3,)), ((1, 2), (2,))])
def test_one_token_for_each_state(con, shapes):
    states, tokens = np.full(shapes[0], con.initial_state, np.int32), np.zeros(shapes[1], np.int64)
    with pytest.raises(fm.InputError, match="expected one token for each state"):
        con.advance(states, tokens)


FORMS = {
    "int64": lambda states: states.astype(np.int64),
    "of the other byte order": lambda states: states.astype(">i4"),
    "with gaps": lambda states: np.repeat(states, 2)[::2],
    "a list": lambda states: states.tolist(),
}


@pytest.mark.parametrize("convert", FORMS.values(), ids=FORMS)
def test_states_of_any_form_give_the_same_masks(con, convert):
    states = np.arange(con.num_states, dtype=np.int32)
    for rows in (con.bitmask, con.allowed):
        expected = rows(states)
        out = np.ones_like(expected)
        assert rows(convert(states), out=out) is out
        np.testing.assert_array_equal(out, expected)
