"""What people call a set of characters: a short label for a drawing, words for a message."""

from __future__ import annotations

from collections.abc import Callable
from unicodedata import bidirectional

from fastmask.characters.ranges import ALL_BYTES, ALL_CHARACTERS, Ranges, covers, difference, lone_bytes
from fastmask.characters.visible import quoted, visible

__all__ = ["either", "label", "words"]

Names = tuple[tuple[Ranges, str], ...]

_LETTERS: Ranges = ((ord("A"), ord("Z")), (ord("a"), ord("z")))
_DIGITS: Ranges = ((ord("0"), ord("9")),)
_SPACE: Ranges = ((ord(" "), ord(" ")),)
_CONTROLS: Ranges = ((0, 0x1F), (0x7F, 0x9F))
_BEYOND_ASCII: Ranges = ((0x80, 0x10FFFF),)
_BEYOND_CONTROLS: Ranges = ((0xA0, 0x10FFFF),)
_BYTES_BEYOND_ASCII: Ranges = (lone_bytes(0x80, 0xFF),)
_CONTINUATION: Ranges = (lone_bytes(0x80, 0xBF),)

# What a set is searched for, in this order; the rest of it is named by its own characters.
_LABELS: Names = (
    (_CONTROLS, "controls"),
    (_BEYOND_ASCII, "any character beyond ASCII"),
    (_BEYOND_CONTROLS, "U+00A0…"),
    (_SPACE, "␣"),
)
_WORDS: Names = (
    (_CONTROLS, "a control character"),
    (_BEYOND_ASCII, "any character beyond ASCII"),
    (_BEYOND_CONTROLS, "any character from U+00A0 on"),
    (_LETTERS, "a letter A to Z or a to z"),
    (_LETTERS[1:], "a letter a to z"),
    (_LETTERS[:1], "a letter A to Z"),
    (_DIGITS, "a digit"),
    (_SPACE, "a space"),
)


def label(ranges: Ranges, most: int = 8) -> str:
    """A short name of a set: ``0-9 a-f``, ``any but "``, ``any character``; a space is ``␣``.

    ``most``: parts to name; what is left of more is told by its number.
    """
    whole = _almost_all(ranges)
    if whole is None:
        return " ".join(_parts(ranges, _LABELS, visible, "-", most))
    missing = _parts(difference(whole[0], ranges), _LABELS, visible, "-", most)
    return f"any but {' '.join(missing)}" if missing else whole[1]


def words(ranges: Ranges, most: int = 8) -> list[str]:
    """The parts of a set in words: ``['a digit', '"-"']``, ``['any character but a control character']``.

    ``most``: parts to name; what is left of more is one part, the number of them.
    """
    if ranges and covers(_CONTINUATION, ranges):
        return ["the rest of a character"]
    whole = _almost_all(ranges)
    if whole is None:
        return _parts(ranges, _WORDS, quoted, " to ", most)
    missing = _parts(difference(whole[0], ranges), _WORDS, quoted, " to ", most)
    return [f"{whole[1]} but {either(missing)}" if missing else whole[1]]


def either(parts: list[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return " or ".join([", ".join(parts[:-1]), *parts[-1:]][len(parts) < 2 :])


def _almost_all(ranges: Ranges) -> tuple[Ranges, str] | None:
    """The whole of which a set is best told by what it lacks, if it is so large, and the whole's name."""
    if not covers(ranges, _LETTERS + _DIGITS):
        return None
    if covers(ranges, _BEYOND_CONTROLS):
        return ALL_CHARACTERS, "any character"
    return (ALL_BYTES, "any byte") if covers(ranges, _BYTES_BEYOND_ASCII) else None


def _parts(ranges: Ranges, names: Names, one: Callable[[str], str], to: str, most: int) -> list[str]:
    """Names of the parts of a set, in the order of their first characters."""
    found = []
    for named, name in names:
        if covers(ranges, named):
            found.append((named[0][0], [name]))
            ranges = difference(ranges, named)
    found += [(first, _range(first, last, one, to)) for first, last in ranges]
    parts = [part for _, listed in sorted(found) for part in listed]
    return parts if len(parts) <= most else [*parts[: most - 1], f"{len(parts) - most + 1:,} more"]


def _range(first: int, last: int, one: Callable[[str], str], to: str) -> list[str]:
    """Two neighbours are shorter when both are named."""
    ends = [_unturned(code) or one(chr(code)) for code in dict.fromkeys((first, last))]
    return ends if last - first < 2 else [to.join(ends)]


def _unturned(code: int) -> str:
    """The number of a character that would turn the direction of the whole list; of any other, nothing."""
    return f"U+{code:04X}" if bidirectional(chr(code)) in {"R", "AL", "AN"} else ""
