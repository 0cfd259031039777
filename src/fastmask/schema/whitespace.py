"""What may stand between the parts of the JSON."""

from __future__ import annotations

from fastmask.errors import InputError, InputTypeError, RegexError
from fastmask.regex import compile_regex

__all__ = ["require_whitespace"]

_ANY = r"[ \t\n\r]*"  # RFC 8259, section 2


def require_whitespace(pattern: str) -> str:
    """The pattern as a group of its own; refuse one that matches more than JSON's white space.

    Raises:
        InputError: it matches something that may not stand between the parts of a JSON.
        RegexError: it does not parse, or matches no text at all.
        InputTypeError: it is no string.
    """
    try:
        compile_regex(pattern)  # by itself: what opens in it must close in it
    except (RegexError, InputTypeError) as error:
        raise type(error)(f"whitespace: {error}") from error
    if _language(f"(?:{pattern})|{_ANY}") != _language(_ANY):
        raise InputError(
            f"whitespace={pattern!r} matches more than JSON's white space, so that what is accepted would be no JSON;"
            f" any of it is r'{_ANY}' (\\s has more than these four characters), a space or none is ' ?'"
        )
    return f"(?:{pattern})"


def _language(regex: str) -> list[bytes]:
    """Equal for equal languages: automata are canonical."""
    return [array.tobytes() for array in compile_regex(regex).to_arrays()]
