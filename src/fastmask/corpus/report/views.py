"""Single records as the page shows them, as plain values ready for its template."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from fastmask.allowed_counts import allowed_counts
from fastmask.characters import visible
from fastmask.constraint import Constraint
from fastmask.corpus.expected import expected, mismatch
from fastmask.corpus.report.charts import colour
from fastmask.corpus.report.statistics import Record
from fastmask.corpus.verdict import BROKEN, UNCONSTRAINED, VERDICTS, judge
from fastmask.errors import InputError
from fastmask.vocabulary import Vocabulary

__all__ = ["Break", "Card", "RecordView", "Token", "cards", "view"]

_CONTEXT = 60  # characters around an error
_PROMPT = 300  # characters of what stands before the constrained part


class Token(NamedTuple):
    """One constrained token of a record."""

    text: str
    token_id: int
    position: int
    state: int  # in which it was chosen
    kind: str  # n0 … n5 by the number of allowed tokens, "bad" for the one that broke it, "lost" behind that


class Break(NamedTuple):
    """Where a record left the format."""

    position: int
    before: str
    got: str
    expected: str


class RecordView(NamedTuple):
    """One record in full."""

    label: str
    verdict: str
    prompt: str  # the end of it
    tokens: list[Token]
    broken: Break | None


class Card(NamedTuple):
    """What may come in one state."""

    state: int
    allowed: int
    expected: str
    tokens: list[tuple[str, int]]  # and how often each was chosen in the records shown
    more: int


def view(con: Constraint, record: Record) -> RecordView:
    """A record with what is to be seen of it.

    Raises:
        InputError: its states are not those of this constraint.
    """
    verdict, error = _judge(con, record)
    start = len(record.states) if verdict == UNCONSTRAINED else record.start
    ids = record.input_ids.tolist()
    before = [con.initial_state, *record.states[start:-1].tolist()][: len(ids) - start]
    kinds = [colour(size) for size in allowed_counts(con, np.array(before, np.int32)).tolist()]
    if verdict == BROKEN:
        kinds[error - start :] = ["bad", *["lost"] * (len(ids) - error - 1)]
    texts = [_text(con.vocabulary, [token]) for token in ids[start:]]
    return RecordView(
        label=visible(record.label),
        verdict=VERDICTS[verdict],
        prompt=_end(_text(con.vocabulary, ids[max(0, start - _PROMPT) : start]), _PROMPT),
        tokens=[Token(*token) for token in zip(texts, ids[start:], range(start, len(ids)), before, kinds, strict=True)],
        broken=_break(con, record, before[error - start], error) if verdict == BROKEN else None,
    )


def cards(con: Constraint, records: Iterable[RecordView], most: int) -> list[Card]:
    """A card for each state in which a token of the records was chosen, with at most so many tokens."""
    chosen: dict[int, Counter[int]] = defaultdict(Counter)
    for record in records:
        for token in record.tokens:
            if token.kind != "lost":
                chosen[token.state][token.token_id] += token.kind != "bad"
    return [_card(con, state, chosen[state], most) for state in sorted(chosen)]


def _card(con: Constraint, state: int, chosen: Counter[int], most: int) -> Card:
    """First the tokens that the records chose here, then the others, the longest first; of many, an even choice."""
    allowed = con.allowed_tokens(state)
    shown = [token for token, count in chosen.most_common(most) if count]
    others = np.setdiff1d(allowed, shown)
    if len(allowed) > most:
        others = others[np.linspace(0, len(others) - 1, most - len(shown)).astype(int)]
    tokens = [(_text(con.vocabulary, [token]), chosen[token]) for token in [*shown, *others.tolist()]]
    tokens.sort(key=lambda token: (-token[1], -len(token[0])))
    return Card(state, len(allowed), expected(con, state), tokens, len(allowed) - len(tokens))


def _judge(con: Constraint, record: Record) -> tuple[int, int]:
    """A record's verdict and the index of the token that broke it, -1 = none."""
    nothing, length = np.zeros(1, np.int64), np.array([len(record.states)])
    verdicts = judge(record.states, nothing, length, np.array([con.initial_state], np.int32), con.finals)
    return int(verdicts.verdict[0]), int(verdicts.error_token[0])


def _break(con: Constraint, record: Record, state: int, position: int) -> Break:
    ids = record.input_ids.tolist()
    found = mismatch(con, state, ids[position])
    if found is None:
        raise InputError(
            f"record {record.label!r} is broken at token {position}, which this constraint allows: its states are those"
            " of another"
        )
    before = _text(con.vocabulary, ids[max(record.start, position - _CONTEXT) : position]) + visible(found.fitting)
    return Break(position, _end(before, _CONTEXT), found.got, found.expected)


def _text(vocabulary: Vocabulary, token_ids: list[int]) -> str:
    """What tokens look like one behind the other; characters that are spread over several of them are whole."""
    return visible(b"".join(vocabulary.tokens[token] or _name(vocabulary, token).encode() for token in token_ids))


def _name(vocabulary: Vocabulary, token_id: int) -> str:
    """Of a token that is no text."""
    return "⟨end⟩" if token_id in vocabulary.eos_token_ids else f"⟨{token_id}⟩"


def _end(text: str, most: int) -> str:
    return text if len(text) <= most else "…" + text[-most:]
