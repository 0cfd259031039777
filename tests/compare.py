"""Holding a constraint to a reference, state by state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

import fastmask as fm
from tests import oracle


def packed(rows: np.ndarray) -> np.ndarray:
    """bool [..., V] → int32 [..., ceil(V / 32)] by numpy alone."""
    width = rows.shape[-1]
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -width % 32)])
    return np.packbits(padded, axis=-1, bitorder="little").view(np.int32)


def same_on_all_states(con: fm.Constraint, reference: Any) -> int:
    """Walks both automata side by side from their initial states over every token; returns the bits compared.

    In each pair of states that one text leads to: the same tokens are allowed, everything else leads to DEAD, EOS
    leads to DONE where the text may end, and the next states pair up in one way only (con merges equal states,
    it never splits one).
    """
    every = np.arange(con.vocab_size, dtype=np.int32)
    eos = list(con.vocabulary.eos_token_ids)
    assert_named_states(con, every, eos)
    partner = {reference.initial: con.initial_state}
    frontier = [reference.initial]
    for theirs in frontier:  # grows while it is read
        ours = partner[theirs]
        moves = reference.moves(theirs)
        tokens = np.fromiter(moves, np.int64, len(moves))
        final = reference.is_final(theirs)
        expected = np.zeros(con.vocab_size, bool)
        expected[tokens] = True
        expected[eos] = final or not moves
        np.testing.assert_array_equal(con.bitmask(ours), packed(expected), f"state {theirs}")

        reached = con.advance(np.full(con.vocab_size, ours, np.int32), every)
        assert (reached[eos] == (fm.DONE if final else fm.DEAD)).all()
        expected[eos] = final
        np.testing.assert_array_equal(reached != fm.DEAD, expected, f"state {theirs}")
        assert con.is_final(ours) == final
        for target, state in set(zip(moves.values(), reached[tokens].tolist(), strict=True)):
            if target not in partner:  # a pair of states met for the first time
                frontier.append(target)
            assert partner.setdefault(target, state) == state
    return len(frontier) * con.vocab_size


def assert_named_states(con: fm.Constraint, every: np.ndarray, eos: list[int]) -> None:
    """FREE stays, whatever comes; DEAD too; DONE stays on EOS alone."""
    ends = np.isin(every, eos)
    for state, allowed, reached in (
        (fm.FREE, np.ones_like(ends), np.full_like(every, fm.FREE)),
        (fm.DONE, ends, np.where(ends, fm.DONE, fm.DEAD)),
        (fm.DEAD, ends, np.full_like(every, fm.DEAD)),
    ):
        np.testing.assert_array_equal(con.bitmask(state), packed(allowed))
        np.testing.assert_array_equal(con.advance(np.full_like(every, state), every), reached)


def outlines_vocabulary(tokens: Iterable[bytes | None], eos: int) -> Any:
    """outlines-core's Vocabulary of the same tokens; ids with equal bytes share an entry."""
    from outlines_core import Vocabulary

    ids: dict[bytes, list[int]] = {}
    for token_id, token in enumerate(tokens):
        if token and token_id != eos:
            ids.setdefault(token, []).append(token_id)
    return Vocabulary(eos, ids)


NAMED = {oracle.FREE: fm.FREE, oracle.DONE: fm.DONE, oracle.DEAD: fm.DEAD}


def agree_on_rows(
    con: fm.Constraint, walker: oracle.Walker, rows: Any, starts: Iterable[int | None], states: Any
) -> None:
    """Are these the states of the rows? Named states by name; the others by their masks and by being one for one."""
    partner: dict[Any, int] = {walker.initial: con.initial_state, **NAMED}
    width = max(map(len, rows), default=0)
    assert states.shape == (len(rows), width)
    assert states.dtype == np.int32
    for row, start, ours in zip(rows, starts, states.tolist(), strict=True):
        theirs = walker.walk(row, start)
        padding = theirs[-1] if theirs else oracle.FREE if start is None else walker.initial
        for state, expected in zip(ours, [*theirs, *[padding] * (width - len(row))], strict=True):
            if expected not in partner:
                partner[expected] = state
                np.testing.assert_array_equal(con.allowed_tokens(state), sorted(walker.allowed(expected)))
                assert con.is_final(state) == walker.is_final(expected)
                assert state > max(NAMED.values())
            assert state == partner[expected]
