"""How long a schema's pattern will be, told before outlines-core writes it.

The translation copies a definition wherever it is used, an array's element twice, and all properties of an object
without required ones once for each of them. Nested, that multiplies: a schema of some hundred lines can ask for more
memory than there is.
"""

import json
from typing import Any

from fastmask.errors import CompileLimitError
from fastmask.schema.rules import REFERENCE_LIMIT, Schema, always_present, decider_of, follow, names

__all__ = ["require_translatable", "translated_size"]

_LEAF = 30  # characters of a string, a number, punctuation: about
_ANYTHING = 14_000  # characters of what admits every JSON value, which the translation spells out to some depth
_BYTES_A_CHARACTER = 8  # of memory, while a pattern is put together, parsed and compiled: at least


def require_translatable(schema: str, max_bytes: int) -> None:
    """Refuse a schema (its text) whose pattern alone would pass the budget of memory.

    Raises:
        CompileLimitError: with the figure expected.
    """
    size = translated_size(json.loads(schema))
    if size * _BYTES_A_CHARACTER > max_bytes:
        raise CompileLimitError(
            f"this schema would become a pattern of about {size:.1e} characters, too many for max_bytes={max_bytes:,}:"
            " its optional properties and references multiply; mark properties as required, nest fewer objects in"
            " one another, or raise max_bytes"
        )


def translated_size(schema: Schema | bool) -> int:
    """The length of the pattern in characters, too long rather than too short, by up to some ten times."""
    return _size(schema, schema, 0, {}) if isinstance(schema, dict) else _LEAF


def _size(root: Schema, node: Any, depth: int, known: dict[tuple[int, int], int]) -> int:
    """Of one schema, behind `depth` references; each place is looked at once for each depth."""
    key = (id(node), depth)
    if key not in known:
        known[key] = _LEAF + _size_within(root, node, depth, known)
    return known[key]


def _size_within(root: Schema, node: Any, depth: int, known: dict[tuple[int, int], int]) -> int:
    if node == {}:
        return _ANYTHING
    match decider := decider_of(node):
        case None:
            return 0
        case "properties":
            copies = 1 if always_present(node) else len(names(node))
            return copies * sum(len(name) + _size(root, value, depth, known) for name, value in names(node).items())
        case "enum" | "const":
            return len(json.dumps(node[decider]))
        case "$ref":
            behind = follow(root, node["$ref"]) if depth < REFERENCE_LIMIT else None
            return _size(root, behind, depth + 1, known)
        case "type":
            inner = [node[keyword] for keyword in ("items", "additionalProperties") if keyword in node]
            free = node["type"] in ("object", "array") and not inner
            return _ANYTHING if free else 2 * sum(_size(root, part, depth, known) for part in inner)
        case _:
            return sum(_size(root, part, depth, known) for part in node[decider])
