"""The same results whatever the thread count, batch split, process, hash seed and order of calls."""

from __future__ import annotations

import multiprocessing
import pickle
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastmask as fm
from tests.cases import REGEXES, SCHEMAS
from tests.compare import outlines_vocabulary

WIDTHS = [*range(1, 131), 191, 192, 193, 1023, 1024, 1025, 4097]
TIMEOUT = 60  # seconds until a child process counts as hung


@pytest.fixture(scope="module")
def con(small):
    return fm.Constraint.from_schema(SCHEMAS["article"], small.vocabulary)


@pytest.fixture(scope="module")
def batch(con):
    """Rows that stay alive for long (each token drawn from the allowed ones) and some that break: 60,000 tokens,
    so that every loop is spread over the threads."""
    draw = np.random.default_rng(0)
    rows = np.empty((300, 200), np.int64)
    states = np.full(300, con.initial_state, np.int32)
    for position in range(rows.shape[1]):
        rows[:, position] = (draw.random((300, con.vocab_size)) * con.allowed(states)).argmax(axis=1)
        states = con.advance(states, rows[:, position])
    rows[::7, 50] = 5
    return rows


def answers(con: fm.Constraint, batch: np.ndarray) -> list[np.ndarray]:
    """Everything that the kernel computes for a batch."""
    states = con.walk(batch, start=3)
    verdict = con.check(batch)
    every = np.arange(con.num_states)
    return [states, con.bitmask(states), con.allowed(states[:20]), con.bitmask(every), con.is_final(every), *verdict]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def expected(con, batch):
    return answers(con, batch)


def fresh(con: fm.Constraint) -> fm.Constraint:
    """An equal constraint without any mask computed yet."""
    return pickle.loads(pickle.dumps(con))


@pytest.mark.parametrize("count", [1, 2, 3, 8, 64])
def test_any_number_of_threads(con, batch, expected, threads, count):
    threads(count)
    assert fm.get_num_threads() == count
    assert_same(answers(fresh(con), batch), expected)


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("found_first", [True, False])
def test_the_error_is_that_of_the_first_bad_row(con, batch, threads, count, found_first):
    """Whichever thread comes upon its own first: rows 40, 80, … are bad at one end, row 0 at the other."""
    threads(count)
    bad = batch.copy()
    bad[0, 0 if found_first else -1] = 600
    bad[40::20, -1 if found_first else 0] = 600
    for _ in range(50):
        with pytest.raises(fm.TokenRangeError, match="row 0, position"):
            con.walk(bad)


def test_any_split_of_the_batch(con, batch, expected):
    for cuts in ([1, 2, 299], [150], range(300)):
        parts = [con.walk(part, start=3) for part in np.split(batch, cuts) if len(part)]
        np.testing.assert_array_equal(np.concatenate(parts), expected[0])


def test_any_order_of_masks(con, expected):
    order = np.random.default_rng(1).permutation(con.num_states)
    one_by_one = fresh(con)
    for state in order:
        np.testing.assert_array_equal(one_by_one.bitmask(state), expected[3][state])
    assert one_by_one.num_masks == len(np.unique(expected[3], axis=0))


def test_many_threads_on_one_constraint(con, batch, expected):
    shared = fresh(con)
    with ThreadPoolExecutor(16) as pool:
        for found in pool.map(lambda _: answers(shared, batch), range(32)):
            assert_same(found, expected)
    assert shared.num_masks == len(np.unique(expected[3], axis=0))


def test_threads_may_be_set_while_others_walk(con, batch, expected, threads):
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(con.walk, batch, 3) for _ in range(40)]
        for count in (1, 4, 2, 8, 1, 3):
            threads(count)
        for future in running:
            np.testing.assert_array_equal(future.result(), expected[0])


@pytest.mark.long
def test_64_threads_for_a_minute(con, batch, expected):
    shared, end = fresh(con), time.monotonic() + 60
    answers(shared, batch)
    full = shared.nbytes

    def work(_: int) -> int:
        rounds = 0
        while time.monotonic() < end:
            assert_same(answers(shared, batch[:50]), answers(con, batch[:50]))
            rounds += 1
        return rounds

    with ThreadPoolExecutor(64) as pool:
        assert sum(pool.map(work, range(64))) > 64
    assert shared.nbytes == full


# ---- other processes ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["0", "1", "random"])
def hash_seed(request, monkeypatch):
    """Child processes hash strings by another seed."""
    monkeypatch.setenv("PYTHONHASHSEED", request.param)


def build_and_hash(tokens: list[bytes | None], eos: int) -> dict[str, str]:
    """Fingerprints of constraints made from nothing, by either builder; states and masks follow from them."""
    vocabulary = fm.Vocabulary(tokens, eos)
    found = {name: fm.Constraint.from_schema(schema, vocabulary).fingerprint for name, schema in SCHEMAS.items()}
    for case in REGEXES[::4]:
        found[case.name] = fm.Constraint.from_regex(case.regex, vocabulary, builder="outlines").fingerprint
    return found


def test_a_fresh_process_builds_the_same(small, hash_seed):
    here = build_and_hash(small.tokens, small.eos)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(build_and_hash, (small.tokens, small.eos)).get(TIMEOUT) == here


@pytest.mark.parametrize("start_method", ["spawn", *(["forkserver"] if sys.platform != "win32" else [])])
def test_a_constraint_travels_to_another_process(con, batch, expected, start_method):
    with multiprocessing.get_context(start_method).Pool(1) as pool:
        assert_same(pool.apply_async(answers, (con, batch)).get(TIMEOUT), expected)


def answer_through(connection, con, batch):
    """In the child: with the threads as they were, then with another number, which retires the old ones."""
    connection.send(fm.get_num_threads())
    connection.send(answers(con, batch))
    fm.set_num_threads(3)
    connection.send(answers(con, batch))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_fork_after_the_threads_have_worked(con, batch, expected, threads):
    threads(4)
    answers(con, batch)
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        ours, theirs = context.Pipe()
        child = context.Process(target=answer_through, args=(theirs, con, batch))
        child.start()
        seen = []
        for _ in range(3):
            arrived = ours.poll(TIMEOUT)
            if not arrived:
                child.kill()
            assert arrived, "the child hangs"
            seen.append(ours.recv())
        assert seen[0] == 4
        assert_same(seen[1], expected)
        assert_same(seen[2], expected)
        child.join(TIMEOUT)
        assert child.exitcode == 0
    assert_same(answers(fresh(con), batch), expected)


def unpack_every_width() -> int:
    """Booleans against packed rows, which were made without them; returns the number of rows."""
    draw = np.random.default_rng(0)
    for width in WIDTHS:
        tokens = [bytes([byte]) for byte in draw.integers(0, 256, width)]
        con = fm.Constraint.from_regex("[A-z]|[0-a][^a]+", fm.Vocabulary(tokens, eos_token_id=width - 1))
        every = np.arange(con.num_states)
        bits = np.unpackbits(con.bitmask(every).view(np.uint8), axis=1, bitorder="little")
        np.testing.assert_array_equal(bits[:, :width], con.allowed(every))
        assert not bits[:, width:].any()
    return len(WIDTHS)


@pytest.mark.parametrize("path", ["plain", "avx2", "avx512"])
def test_every_simd_path_unpacks_the_same(path, monkeypatch):
    """A path that this machine lacks falls back to the next, which is then tested twice."""
    monkeypatch.setenv("FASTMASK_SIMD", path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(unpack_every_width).get(TIMEOUT) == len(WIDTHS)


# ---- pickles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_keeps_the_states_numbers(con, batch, expected, protocol):
    copy = pickle.loads(pickle.dumps(con, protocol))
    assert (copy.num_states, copy.vocabulary, copy.fingerprint) == (con.num_states, con.vocabulary, con.fingerprint)
    assert_same(answers(copy, batch), expected)


def test_equal_constraints_have_equal_pickles(small):
    def build():
        tokens = [token and bytes(bytearray(token)) for token in small.tokens]
        return fm.Constraint.from_schema(SCHEMAS["upos"], fm.Vocabulary(tokens, small.eos))

    con, other = build(), build()
    con.bitmask(np.arange(con.num_states))  # what was computed since is no part of it
    con.vocabulary.tokens  # noqa: B018
    assert pickle.dumps(con) == pickle.dumps(other) == pickle.dumps(pickle.loads(pickle.dumps(con)))


def test_an_index_s_constraint_can_be_pickled_too(synthetic):
    from outlines_core import Index

    index = Index("(yes|no)!", outlines_vocabulary(synthetic.tokens, synthetic.eos))
    con = fm.Constraint.from_index(index, synthetic.vocabulary)
    copy, every = fresh(con), np.arange(con.num_states)
    rows = np.random.default_rng(0).integers(0, synthetic.vocabulary.size, (20, 5))
    assert_same(
        [copy.bitmask(every), copy.is_final(every), copy.walk(rows)],
        [con.bitmask(every), con.is_final(every), con.walk(rows)],
    )


def test_a_vocabulary_is_its_contents(small):
    copy = pickle.loads(pickle.dumps(small.vocabulary))
    assert copy == small.vocabulary == fm.Vocabulary(small.tokens, [small.eos])
    assert hash(copy) == hash(small.vocabulary)
    assert copy.tokens == small.vocabulary.tokens
    others = [
        fm.Vocabulary(small.tokens, small.eos, size=601),
        fm.Vocabulary(small.tokens, [small.eos, 5]),
        fm.Vocabulary([*small.tokens[:-1], b"other"], small.eos),
        fm.Vocabulary([*small.tokens[:-1], None], small.eos),
    ]
    assert len({small.vocabulary, *others}) == 5


def test_random_order_of_choices_changes_nothing(small):
    choices = ["yes", "yesterday", "no", "", "ja", "日本"]
    expected = fm.Constraint.from_choices(choices, small.vocabulary).fingerprint
    for seed in range(5):
        random.Random(seed).shuffle(choices)
        assert fm.Constraint.from_choices(choices, small.vocabulary).fingerprint == expected
