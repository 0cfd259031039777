"""A regular expression → its byte automaton, by either of two builders."""

from __future__ import annotations

import numpy as np

from fastmask import _core, outlines
from fastmask.errors import InputError, InputTypeError, RegexError

__all__ = ["MAX_BYTES", "compile_regex", "literal"]

MAX_BYTES = 2 << 30  # of memory that one compilation may use, unless told otherwise

_MAX_STATES = 2**31 - 8  # state ids are int32, and three of them are taken


def compile_regex(
    regex: str,
    *,
    builder: str = "fastmask",
    max_seconds: float = 30.0,
    max_states: int = 250_000,
    max_bytes: int = MAX_BYTES,
) -> _core.Automaton:
    """The minimal byte automaton of the texts that ``regex`` matches as a whole.

    Args:
        regex: in the dialect of Rust's ``regex`` crate (https://docs.rs/regex/latest/regex/#syntax) without
            anchors, word boundaries, look-around and back-references.
        builder: ``"fastmask"``, our own determiniser; or ``"outlines"``, outlines-core, for comparison: it knows
            no budgets, cannot be interrupted, and explodes on counted repetition.
        max_seconds: budget of wall-clock time.
        max_states: budget of states before minimisation.
        max_bytes: budget of memory during compilation, bytes.

    Raises:
        RegexError: the pattern does not parse, or matches no text at all.
        CompileLimitError: a budget was passed; the message gives the figure reached.
        InputError: an unknown builder or a budget that is not positive.
        InputTypeError: ``regex`` is not a string.
    """
    if not isinstance(regex, str):
        raise InputTypeError(f"a regular expression is a str, got {type(regex).__name__}")
    for name, value in (("max_seconds", max_seconds), ("max_states", max_states), ("max_bytes", max_bytes)):
        if not value > 0:
            raise InputError(f"{name} must be positive, got {value!r}")
    if builder == "fastmask":
        return _core.Automaton.from_regex(
            _utf8(regex), max_seconds, min(int(max_states), _MAX_STATES), min(int(max_bytes), 2**63 - 1)
        )
    if builder == "outlines":
        return _from_outlines(regex)
    raise InputError(f'builder must be "fastmask" or "outlines", got {builder!r}')


def literal(text: str) -> str:
    """The pattern that matches ``text`` and nothing else."""
    return "".join(c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)


def _utf8(regex: str) -> bytes:
    try:
        return regex.encode()
    except UnicodeEncodeError as error:
        raise RegexError(
            f"the pattern is no Unicode text: it holds a lone surrogate at character {error.start}"
        ) from error


def _from_outlines(regex: str) -> _core.Automaton:
    table = outlines.byte_table(regex)
    symbols = table.symbols.astype(np.uint8)
    return _core.Automaton.from_transitions(
        table.from_states, symbols, table.to_states, table.num_states, table.initial, table.finals
    )
