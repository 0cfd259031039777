"""Sets of characters as ascending ranges of code points.

A byte that is no character has a place too: U+DC00 + byte, as in Python's ``surrogateescape``. A set holds such bytes
or characters beyond ASCII, never both.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "ALL_BYTES",
    "ALL_CHARACTERS",
    "SURROGATES",
    "Ranges",
    "bridged",
    "covers",
    "difference",
    "lone_bytes",
    "merged",
]

Ranges = tuple[tuple[int, int], ...]
"""(first, last) of each range; ascending, apart from each other."""

SURROGATES = (0xD800, 0xDFFF)
_LONE_BYTE = 0xDC00

ALL_CHARACTERS: Ranges = ((0, 0x10FFFF),)
ALL_BYTES: Ranges = ((0, 0x7F), (_LONE_BYTE + 0x80, _LONE_BYTE + 0xFF))


def lone_bytes(first: int, last: int) -> tuple[int, int]:
    """The range of the bytes ``first`` … ``last``, 128 … 255, where they are no characters."""
    return _LONE_BYTE + first, _LONE_BYTE + last


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The union."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def bridged(ranges: Ranges) -> Ranges:
    """``ranges`` with the surrogates, which no text holds, where both of their neighbours are in it."""
    beside = ((SURROGATES[0] - 1,) * 2, (SURROGATES[1] + 1,) * 2)
    return merged([*ranges, SURROGATES]) if covers(ranges, beside) else ranges


def difference(ranges: Ranges, others: Ranges) -> Ranges:
    """What is in ``ranges`` and in none of ``others``."""
    left = list(ranges)
    for first, last in others:
        left = [part for low, high in left for part in ((low, min(high, first - 1)), (max(low, last + 1), high))]
        left = [(low, high) for low, high in left if low <= high]
    return tuple(left)


def covers(ranges: Ranges, others: Ranges) -> bool:
    """Is all of ``others`` in ``ranges``?"""
    return not difference(others, ranges)
