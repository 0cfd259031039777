"""What may come next in words, for messages: ``"," or "]"``."""

from __future__ import annotations

from typing import NamedTuple

from fastmask import _core
from fastmask.characters import either, quoted, words
from fastmask.characters.ranges import merged
from fastmask.constraint import Constraint

__all__ = ["Mismatch", "expected", "mismatch"]

_LONE_BYTES = "".join(map(chr, range(0xDC80, 0xDD00)))  # bytes that make up no whole character
_LONGEST = 40  # characters of a text without choice that are worth telling
_THE_END = "the end of the text"
_OF_NO_TEXT = {
    _core.FREE: "anything",
    _core.DONE: "nothing: the text has ended",
    _core.DEAD: "nothing: the text is broken already",
}


class Mismatch(NamedTuple):
    """Where a token leaves the format."""

    fitting: bytes
    """The bytes of the token that still fit, often none."""
    got: str
    """The first character that does not, in quotation marks; or what the token is instead of text."""
    expected: str
    """What could have stood there."""


def expected(con: Constraint, state: int) -> str:
    """What the text may go on with in ``state``: all that must come before the next choice, or the characters to choose
    from.

    Such as ``'"text"'``, ``"," or "]"``, ``a digit or the end of the text``; told by the bytes of the format, however
    a vocabulary cuts them.

    Raises:
        InputError: the constraint was made by ``from_index``, which knows tokens and no bytes.
        TokenRangeError: a state outside 0 … ``num_states - 1``.
    """
    forced = con.forced_bytes(state).decode("utf-8", "surrogateescape").rstrip(_LONE_BYTES)
    if state in _OF_NO_TEXT:
        return _OF_NO_TEXT[state]
    if forced and forced[0] not in _LONE_BYTES:
        return quoted(forced if len(forced) <= _LONGEST else forced[:_LONGEST] + "…")
    following = con.characters.following(state).values()
    ranges = merged(part for ranges in following for part in ranges)
    return either([*words(ranges), *[_THE_END] * con.characters.may_end(state)])


def mismatch(con: Constraint, state: int, token_id: int) -> Mismatch | None:
    """How a token leaves the format, to the byte; ``None`` if it does not, or ``state`` was DEAD before it.

    Args:
        state: the state before the token.

    Raises:
        InputError: the constraint was made by ``from_index``, which knows tokens and no bytes.
        TokenRangeError: a state or a token id outside its range.
    """
    if state == _core.DEAD or con.advance(state, token_id) != _core.DEAD:
        return None
    token = con.vocabulary.tokens[token_id]
    if token_id in con.vocabulary.eos_token_ids:
        return Mismatch(b"", _THE_END, expected(con, state))
    if not token:
        return Mismatch(b"", f"token {token_id}, which is no text", expected(con, state))
    count, last = con.characters.read(state, token)
    rest = token[count:].decode("utf-8", "surrogateescape")
    return Mismatch(token[:count], quoted(rest[:1]), expected(con, last))
