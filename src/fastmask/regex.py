"""A regular expression → its byte automaton, by either of two builders."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from fastmask import _core, outlines
from fastmask.errors import InputError, InputTypeError, RegexError

__all__ = ["MAX_BYTES", "compile_regex", "literal", "require_options"]

MAX_BYTES = 2 << 30  # of memory that one compilation may use, unless told otherwise

_MAX_STATES = 2**31 - 8  # state ids are int32, and three of them are taken
_MAX_INT64 = 2**63 - 1


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
        InputTypeError: ``regex`` is not a string, or a budget no number.
    """
    if not isinstance(regex, str):
        raise InputTypeError(f"a regular expression is a str, got {type(regex).__name__}")
    _require_budgets({"max_seconds": max_seconds, "max_states": max_states, "max_bytes": max_bytes})
    if builder == "fastmask":
        return _core.Automaton.from_regex(
            _utf8(regex), max_seconds, int(min(max_states, _MAX_STATES)), int(min(max_bytes, _MAX_INT64))
        )
    if builder == "outlines":
        return _from_outlines(regex)
    raise InputError(f'builder must be "fastmask" or "outlines", got {builder!r}')


def require_options(maker: str, options: Mapping[str, Any], *own: str) -> None:
    """Refuse options that :func:`compile_regex` would not take, in the name of the function that they were given to.

    Args:
        maker: that function.
        options: what it hands on.
        own: those that it takes itself, which may have been meant.

    Raises:
        InputTypeError: an unknown option, or a budget that is no number.
        InputError: a budget that is not positive.
    """
    known = [*own, *(compile_regex.__kwdefaults__ or {})]
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, 1)
            told = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            raise InputTypeError(f"{maker}() has no option {name!r}: {told}")
    _require_budgets({name: value for name, value in options.items() if name != "builder"})


def _require_budgets(budgets: Mapping[str, Any]) -> None:
    for name, value in budgets.items():
        if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool):
            raise InputTypeError(f"{name} must be a positive number, got {value!r}")
        if not value > 0:
            raise InputError(f"{name} must be positive, got {value!r}")


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
