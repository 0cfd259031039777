"""Patterns, names and constants: what the translation makes of them inside JSON, and what goes wrong there."""

import re
from decimal import Decimal
from typing import Any

__all__ = ["constant_fault", "pattern_fault"]

UNSAFE_CHARACTERS = "".join(map(chr, range(0x20))) + '"\\'  # a JSON string must escape them; a pattern does not
_ESCAPE = r"\\(?:[dwsDWSnrtfv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|(?![<>])[ -/:-@\[-`{-~])"
_PATTERN_TOKEN = re.compile(
    rf"(?P<character>[^\\\[\](){{}}|*+?^$]|{_ESCAPE}|\[\^?(?:(?!&&|--|~~|\|\|)[^\\\[\]]|{_ESCAPE})+\])"
    r"|(?P<open>\((?:\?:|\?<[A-Za-z_]\w*>|(?!\?)))|(?P<close>\))|(?P<either>\|)"
    r"|(?:[*+?]|\{\d+(?:,\d*)?\})\??(?![*+?{])|[\^$]"
)


def pattern_fault(pattern: str) -> str | None:
    """What is wrong with the translation of `pattern`, which becomes ``("…")`` as it stands, without outer anchors."""
    if pattern.startswith("^") and pattern.endswith("$"):
        pattern = pattern[1:-1]
    position = depth = 0
    while position < len(pattern):
        token = _PATTERN_TOKEN.match(pattern, position)
        depth += bool(token and token["open"]) - bool(token and token["close"])
        if token is None or depth < 0:
            return f"{pattern[position:]!r} may mean something else in the translation than in the schema"
        if token["either"] and depth == 0:
            return "'|' outside of parentheses would split the text, quotes and all; what is accepted is no JSON"
        if fault := _character_fault(token["character"] or ""):
            return fault
        position = token.end()
    return None


def _character_fault(token: str) -> str | None:
    """What is wrong with the translation of one character, escape or class of a pattern."""
    try:
        if token and re.search(token, UNSAFE_CHARACTERS, re.ASCII):
            return f"{token!r} would match unescaped quotes, backslashes or control characters, which is no JSON"
    except re.error as error:
        return f"{token!r} may mean something else in the translation than in the schema ({error})"
    if set(re.findall(r"\\.", token)) & {r"\d", r"\w", r"\D", r"\W"}:
        return f"{token!r} would match characters outside of ASCII, too; write 0-9 for \\d, 0-9A-Za-z_ for \\w"
    return None


def constant_fault(value: Any) -> str | None:
    """What is wrong with the translation of one listed value."""
    if isinstance(value, list):
        return next(filter(None, map(constant_fault, value)), None)
    if isinstance(value, dict):
        if names := [name for name in value if re.search(r'[\\.+*?()|\[\]{}^$"\x00-\x1f]', name)]:
            return f"the name {names[0]!r} would be read as a regular expression"
        return constant_fault(list(value.values()))
    if (isinstance(value, int) and not -(2**63) <= value < 2**64) or (
        isinstance(value, float) and not _float_kept(value)
    ):
        return f"{value!r} may lose its last digits, and another number be accepted"
    return None


def _float_kept(value: float) -> bool:
    """Whether the translation surely reads the decimal form of `value` as `value`: its reader rounds only once."""
    _, digits, exponent = Decimal(repr(value)).as_tuple()
    return len(digits) <= 15 and isinstance(exponent, int) and abs(exponent) <= 22
