"""What a row's text must keep to, and from where on: the processor's arguments in one form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastmask import _core
from fastmask.canonical import spelling
from fastmask.constraint import Constraint
from fastmask.errors import InputError, InputTypeError, TokenRangeError
from fastmask.hf.fitting import require_one_vocabulary
from fastmask.rows import After

__all__ = ["Rule", "rules_of"]


class Rule(NamedTuple):
    """A constraint and what it begins behind. Rows with equal rules are read together."""

    constraint: Constraint
    """With a text to wait for, one that has it in front."""
    token: int | None
    """The constraint begins behind the first occurrence of this token."""
    text: bytes
    """… behind the first occurrence of these bytes. Where there are none and no token, it begins at once."""

    @property
    def first_answering(self) -> int:
        """The state in which the answer begins; those of the text that are lower are of thinking."""
        return _core.INITIAL + len(self.text)

    @property
    def shortest_answer(self) -> int:
        """Tokens of the shortest answer; -1: the vocabulary can spell none."""
        return int(self.constraint.distance(self.first_answering))

    def needed(self, answer_tokens: int) -> int:
        """The fewest tokens of a whole text whose answer may have ``answer_tokens``, with what it begins behind."""
        spared = max(answer_tokens - self.shortest_answer, 0)
        behind_token = self.token is not None
        return int(self.constraint.distance(_core.INITIAL)) + behind_token + spared

    def answer(self, ids: list[int]) -> str:
        """The text of what was generated, behind what the answer begins behind and up to the first EOS."""
        ids = ids[_end(ids, {self.token}) + 1 :] if self.token is not None else ids
        vocabulary = self.constraint.vocabulary
        text = spelling(ids[: _end(ids, set(vocabulary.eos_token_ids))], vocabulary)
        return (text.partition(self.text)[2] if self.text else text).decode(errors="replace")


def _end(ids: list[int], ends: set[int | None]) -> int:
    return next((t for t, token_id in enumerate(ids) if token_id in ends), len(ids))


def rules_of(constraints: Any, starts: Any) -> list[Rule | None]:
    """One rule for each prompt, or a single one for all; ``None`` = free.

    Raises:
        InputTypeError, InputError, TokenRangeError: arguments that are none of those, or do not fit each other.
    """
    listed = _listed(constraints)
    if isinstance(starts, (list, tuple)) and not isinstance(starts, After):
        if len(starts) != len(listed):
            raise InputError(f"{len(listed)} constraints and {len(starts)} starts were given: expected one for each")
        pairs = list(zip(listed, starts, strict=True))
    else:
        pairs = [(constraint, starts) for constraint in listed]
    made = {pair: _rule(*pair) for pair in dict.fromkeys(pairs)}  # one for equal pairs, so that rows stay together
    return [made[pair] for pair in pairs]


def _listed(given: Any) -> list[Constraint | None]:
    listed = list(given) if isinstance(given, Sequence) else [given]
    for constraint in listed:
        if not isinstance(constraint, Constraint) and (constraint is not None or not isinstance(given, Sequence)):
            raise InputTypeError(f"expected a fastmask.Constraint, got {type(constraint).__name__}")
    if not any(listed):
        raise InputTypeError(f"expected a fastmask.Constraint, or one for each prompt, got {given!r}")
    require_one_vocabulary(listed)
    return listed


def _rule(constraint: Constraint | None, start: Any) -> Rule | None:
    if constraint is None:
        return None
    if start is None:
        return Rule(constraint, None, b"")
    if isinstance(start, str):
        return Rule(constraint.after(start), None, start.encode())
    if isinstance(start, After):
        return Rule(constraint, _possible(start.token_id, constraint), b"")
    raise InputTypeError(f"start must be fm.after(token_id), a text or None, got {start!r}")


def _possible(token_id: int, constraint: Constraint) -> int:
    """The token, which must be one that can come before the end."""
    vocabulary = constraint.vocabulary
    if not 0 <= token_id < vocabulary.size:
        raise TokenRangeError(f"start=after({token_id}) lies outside 0 … {vocabulary.size - 1}, the vocabulary")
    if token_id in vocabulary.eos_token_ids:
        raise InputError(f"start=after({token_id}) is an EOS token: generation would end where the answer begins")
    return token_id
