"""The state of a text that somebody else keeps, against a walk over the whole of it."""

from __future__ import annotations

import random

import pytest

import fastmask as fm
from fastmask.progress import Progress


@pytest.fixture(scope="module")
def con():
    vocabulary = fm.Vocabulary([bytes([byte]) for byte in range(256)] + [b"ab", None], 257)
    return fm.Constraint.from_regex("(ab|ba)*(c[0-9]{3})?", vocabulary)


def test_a_list_that_grows_shrinks_and_changes(con):
    """Whatever happens to the list, the state is that of the tokens in it."""
    draw = random.Random(0)
    seen = set()
    for _ in range(100):
        tokens: list[int] = []
        progress = Progress(con)
        for _ in range(40):
            for _ in range(draw.choice([0, 1, 1, 1, 1, 2, 5])):
                state = int(con.walk([tokens])[0, -1]) if tokens else con.initial_state
                tokens.append(int(draw.choice(con.allowed_tokens(state))))
            kind = draw.random()
            if kind < 0.1:
                del tokens[-draw.choice([1, 2, 3]) :]
            elif kind < 0.2 and tokens:  # as many as before, but another one at the end
                tokens[-1] = draw.choice([97, 98, 99, 256, 257])
            expected = int(con.walk([tokens])[0, -1]) if tokens else con.initial_state
            assert progress.state(tokens) == expected
            seen.add(expected)
    assert {fm.DONE, fm.DEAD} < seen
    assert len(seen) > 6


def test_each_token_is_read_once(con, monkeypatch):
    """A text that only grows is never replayed."""
    tokens: list[int] = []
    progress = Progress(con)
    monkeypatch.setattr(fm.Constraint, "walk", None)
    for token in [97, 98, 256, 99, 48, 48, 48, 257]:
        tokens.append(token)
        assert progress.state(tokens) == progress.state(tokens)
    assert progress.state(tokens) == fm.DONE
