"""Scores under masks in one pass: every width, type of number and set of instructions against ``torch.where``."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

import fastmask as fm

torch = pytest.importorskip("torch")

from fastmask.select import select  # noqa: E402

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
WIDTHS = [*range(1, 131), 191, 192, 193, 1023, 1024, 1025, 4097]
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
TIMEOUT = 120  # seconds until a child process counts as hung


def constraint(width: int, draw: np.random.Generator) -> fm.Constraint:
    """A vocabulary of random bytes, one token of which is EOS: dense rows and sparse ones."""
    tokens = [bytes([byte]) for byte in draw.integers(0, 256, width)]
    return fm.Constraint.from_regex("[A-z]|[0-a][^a]+", fm.Vocabulary(tokens, eos_token_id=width - 1))


def scores_of(shape: tuple[int, int], dtype: torch.dtype, draw: np.random.Generator) -> torch.Tensor:
    """Any bits at all, infinities and NaNs of all kinds among them."""
    size = torch.empty(0, dtype=dtype).itemsize
    return torch.from_numpy(draw.integers(0, 256, (shape[0], shape[1] * size), np.uint8)).view(dtype)


def expected(con: fm.Constraint, states: np.ndarray, scores: torch.Tensor) -> torch.Tensor:
    allowed = torch.zeros(scores.shape, dtype=torch.bool)
    allowed[:, : con.vocab_size] = torch.from_numpy(con.allowed(states))
    return torch.where(allowed, scores, torch.tensor(-torch.inf, dtype=scores.dtype))


def assert_same_bits(found: torch.Tensor, wanted: torch.Tensor) -> None:
    bits = BITS[found.itemsize]
    assert torch.equal(found.view(bits), wanted.view(bits))


def select_every_width() -> int:
    """All types, logits as wide as the vocabulary and wider, into a new tensor and in place; returns the cases."""
    draw, cases = np.random.default_rng(0), 0
    for width in WIDTHS:
        con = constraint(width, draw)
        every = np.arange(con.num_states, dtype=np.int32)
        for dtype in DTYPES:
            for wider in (0, 1, 37):
                scores = scores_of((len(every), width + wider), dtype, draw)
                wanted, out = expected(con, every, scores), torch.empty_like(scores)
                select(con, every, scores, out)
                assert_same_bits(out, wanted)
                select(con, every, scores, scores)
                assert_same_bits(scores, wanted)
                cases += 1
    return cases


@pytest.mark.parametrize("path", ["plain", "avx2", "avx512"])
def test_every_set_of_instructions(path, monkeypatch):
    """A path that this machine lacks falls back to the next, which is then tested twice."""
    monkeypatch.setenv("FASTMASK_SIMD", path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        cases = pool.apply_async(select_every_width).get(TIMEOUT)
    assert cases == len(WIDTHS) * len(DTYPES) * 3


@pytest.fixture(scope="module")
def con():
    return constraint(1_000, np.random.default_rng(1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_some_rows(con, dtype):
    """Rows without a state keep what they hold."""
    draw = np.random.default_rng(0)
    scores = scores_of((9, 1_005), dtype, draw)
    rows = np.array([7, 0, 4], np.int64)
    states = np.array([fm.DONE, con.initial_state, con.num_states - 1], np.int32)
    out = scores_of((9, 1_005), dtype, draw)
    wanted = out.clone()
    wanted[rows] = expected(con, states, scores[rows])
    select(con, states, scores, out, rows)
    assert_same_bits(out, wanted)


@pytest.mark.parametrize("regex", ["[A-z]|[0-a][^a]+", "[0-9]", "[^0-9]"])  # dense rows, a few tokens, all but a few
def test_whether_anything_was_kept(regex):
    """One score alone is not forbidden already: something is kept in each state that allows its token."""
    width = 1_000
    tokens = [b"x"] * width
    tokens[::400] = [b"1", b"2", b"3"]
    con = fm.Constraint.from_regex(regex, fm.Vocabulary(tokens, eos_token_id=width - 1))
    scores = torch.full((width, width), -torch.inf).fill_diagonal_(1.0)
    found = [
        select(con, np.full(width, state, np.int32), scores, torch.empty_like(scores))
        for state in range(con.num_states)
    ]
    np.testing.assert_array_equal(np.stack(found), con.allowed(np.arange(con.num_states)))


def test_no_rows_at_all(con):
    scores = torch.zeros(2, 1_000)
    out = scores.clone()
    select(con, np.empty(0, np.int32), scores, out, np.empty(0, np.int64))
    assert torch.equal(out, scores)
    select(con, np.empty(0, np.int32), scores[:0], out[:0])


@pytest.mark.parametrize("count", [1, 2, 8])
def test_any_number_of_threads(con, threads, count):
    """Enough rows that they are spread."""
    threads(count)
    draw = np.random.default_rng(0)
    states = draw.integers(0, con.num_states, 3_000).astype(np.int32)
    scores = scores_of((3_000, 1_000), torch.float32, draw)
    out = torch.empty_like(scores)
    select(con, states, scores, out)
    assert_same_bits(out, expected(con, states, scores))


@pytest.mark.parametrize(
    ("states", "scores", "out", "rows"),
    [
        ([3], (1, 999), (1, 999), None),  # narrower than the vocabulary
        ([3], (2, 1_000), (2, 1_000), None),  # not a state for each row
        ([3], (1, 1_000), (1, 1_001), None),  # no room like the scores
        ([3], (1, 1_000), (1, 1_000), [1]),  # a row that is not there
        ([3], (1, 1_000), (1, 1_000), [-1]),
        ([3, 3], (2, 1_000), (2, 1_000), [1]),  # not a state for each row that is named
    ],
)
def test_what_does_not_fit_is_refused(con, states, scores, out, rows):
    rows = None if rows is None else np.array(rows, np.int64)
    with pytest.raises(fm.InputError):
        select(con, np.array(states, np.int32), torch.zeros(scores), torch.zeros(out), rows)


@pytest.mark.parametrize("state", [-1, 10**6])
def test_a_state_that_is_none_is_refused(con, state):
    scores = torch.zeros(1, 1_000)
    with pytest.raises(fm.TokenRangeError, match=str(state)):
        select(con, np.array([state], np.int32), scores, scores)
