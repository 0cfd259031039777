"""The tables of the audit: how outlines-core's translation reads a schema, and what each keyword asserts.

True of outlines-core 0.2.14, and held to it by the tests.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from fastmask.schema.formats import FORMATS, OTHER_FORMATS

__all__ = [
    "ANYTHING",
    "ARRAY",
    "ASSERTIONS",
    "DECIDERS",
    "NUMBER",
    "OBJECT",
    "REFERENCE_LIMIT",
    "SATISFIED",
    "STRING",
    "Kinds",
    "Schema",
    "always_present",
    "count",
    "decider_of",
    "follow",
    "kind",
    "kinds_of_type",
    "listed",
    "names",
    "no_length",
    "strings",
]

Schema = dict[str, Any]
Kinds = frozenset[str]  # JSON's types, with numbers split so that "integer" is a part of "number"


NUMBER, STRING, ARRAY, OBJECT = map(frozenset, (["integer", "fraction"], ["string"], ["array"], ["object"]))
TYPES = {name: frozenset([name]) for name in ("null", "boolean", "integer", "string", "array", "object")}
TYPES["number"] = NUMBER
ANYTHING: Kinds = frozenset().union(*TYPES.values())


def kinds_of_type(value: Any) -> Kinds:
    """The kinds that a ``type`` keyword names."""
    return frozenset().union(*(TYPES.get(name, ()) for name in strings(value) | strings([value])))


def kind(value: Any) -> str:
    """The kind of one JSON value."""
    if isinstance(value, float):
        return "integer" if value.is_integer() else "fraction"
    named = {type(None): "null", bool: "boolean", int: "integer", str: "string", list: "array"}
    return named.get(type(value), "object")


def strings(value: Any) -> set[str]:
    return {item for item in value if isinstance(item, str)} if isinstance(value, list) else set()


def count(node: Schema, keyword: str, low: float = 0, high: float = float("inf")) -> bool:
    """Whether `keyword` is there as a count from `low` to `high`. The translation overlooks counts written ``2.0``."""
    value = node.get(keyword)
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def names(node: Schema) -> Schema:
    names = node.get("properties")
    return names if isinstance(names, dict) else {}


def always_present(node: Schema) -> set[str]:
    return strings(node.get("required")) & set(names(node))


def listed(node: Schema) -> list[Any] | None:
    """The only values that `node` admits, if it lists them."""
    values = node.get("enum", [node["const"]] if "const" in node else None)
    return values if isinstance(values, list) else None


DECIDERS: dict[str, type | tuple[type, ...]] = {
    # In the translation's own order, with the type that the value must have to be translated at all.
    "properties": dict,
    "allOf": list,
    "anyOf": list,
    "oneOf": list,
    "prefixItems": list,
    "enum": list,
    "const": object,
    "$ref": str,
    "type": (str, list),
}
REFERENCE_LIMIT = 4  # references within references; a property that needs more is left out


class _Assertion(NamedTuple):
    kinds: Kinds
    """The kinds of value that the keyword can refuse."""
    lost: str
    """What would be accepted if the keyword is not read."""
    idle: Callable[[Any], bool] = lambda value: False
    """Whether the keyword with this value refuses nothing."""


def _trivial(schema: Any) -> bool:
    return schema is True or schema == {}


def _all_trivial(schemas: Any) -> bool:
    return isinstance(schemas, dict) and all(map(_trivial, schemas.values()))


def _off(value: Any) -> bool:
    return value is False


def _empty(value: Any) -> bool:
    return value in ([], {}, 0) and value is not False


ASSERTIONS = {
    # All but "properties", which always decides.
    "type": _Assertion(ANYTHING, "values of other types"),
    "enum": _Assertion(ANYTHING, "values that are not listed"),
    "const": _Assertion(ANYTHING, "other values"),
    "$ref": _Assertion(ANYTHING, "values that the other schema refuses"),
    "$dynamicRef": _Assertion(ANYTHING, "values that the other schema refuses"),
    "$recursiveRef": _Assertion(ANYTHING, "values that the other schema refuses"),
    "allOf": _Assertion(ANYTHING, "values that one of its schemas refuses", _empty),
    "anyOf": _Assertion(ANYTHING, "values that all of its schemas refuse"),
    "oneOf": _Assertion(ANYTHING, "values that none or several of its schemas admit"),
    "not": _Assertion(ANYTHING, "values that it forbids"),
    "then": _Assertion(ANYTHING, "values that it refuses where 'if' holds", _trivial),
    "else": _Assertion(ANYTHING, "values that it refuses where 'if' does not hold", _trivial),
    "minimum": _Assertion(NUMBER, "smaller numbers"),
    "exclusiveMinimum": _Assertion(NUMBER, "smaller numbers", _off),  # a boolean in draft 4
    "maximum": _Assertion(NUMBER, "greater numbers"),
    "exclusiveMaximum": _Assertion(NUMBER, "greater numbers", _off),
    "multipleOf": _Assertion(NUMBER, "numbers between the multiples"),
    "minLength": _Assertion(STRING, "shorter strings", _empty),
    "maxLength": _Assertion(STRING, "longer strings"),
    "pattern": _Assertion(STRING, "strings that do not match", lambda value: value in ("", "^", ".*", "^.*")),
    "format": _Assertion(STRING, "strings of any other form", lambda value: value not in (*FORMATS, *OTHER_FORMATS)),
    "items": _Assertion(ARRAY, "other elements", _trivial),
    "prefixItems": _Assertion(ARRAY, "other elements", _empty),
    "unevaluatedItems": _Assertion(ARRAY, "other elements", _trivial),
    "contains": _Assertion(ARRAY, "arrays without such an element"),
    "minItems": _Assertion(ARRAY, "shorter arrays", _empty),
    "maxItems": _Assertion(ARRAY, "longer arrays"),
    "uniqueItems": _Assertion(ARRAY, "equal elements", _off),
    "patternProperties": _Assertion(OBJECT, "other values under matching names", _all_trivial),
    "additionalProperties": _Assertion(OBJECT, "other names and values", _trivial),
    "unevaluatedProperties": _Assertion(OBJECT, "other names and values", _trivial),
    "propertyNames": _Assertion(OBJECT, "other names", _trivial),
    "required": _Assertion(OBJECT, "objects without these names", lambda value: not strings(value)),
    "minProperties": _Assertion(OBJECT, "objects with fewer names", _empty),
    "maxProperties": _Assertion(OBJECT, "objects with more names"),
    "dependentRequired": _Assertion(OBJECT, "objects that it refuses", _empty),
    "dependentSchemas": _Assertion(OBJECT, "objects that it refuses", _all_trivial),
    "dependencies": _Assertion(OBJECT, "objects that it refuses", _empty),
}


def _no_name_matches(node: Schema) -> bool:
    try:
        return not any(re.search(pattern, name) for pattern in node["patternProperties"] for name in node["properties"])
    except (re.error, TypeError):
        return False


def no_length(node: Schema) -> bool:
    return "minLength" not in node and "maxLength" not in node


def _always(_: Schema) -> bool:
    return True


SATISFIED: dict[tuple[str, str], Callable[[Schema], bool]] = {
    # (deciding keyword, other keyword): whether all that comes out satisfies the other one anyway.
    # "properties" becomes an object that has no other names, and each of them at most once.
    ("properties", "required"): lambda node: strings(node["required"]) <= set(node["properties"]),
    ("properties", "additionalProperties"): _always,
    ("properties", "unevaluatedProperties"): _always,
    ("properties", "patternProperties"): _no_name_matches,
    ("properties", "minProperties"): lambda node: count(node, "minProperties", high=len(always_present(node))),
    ("properties", "maxProperties"): lambda node: count(node, "maxProperties", low=len(node["properties"])),
    # "prefixItems" becomes an array of exactly these elements.
    ("prefixItems", "items"): _always,
    ("prefixItems", "unevaluatedItems"): _always,
    ("prefixItems", "minItems"): lambda node: count(node, "minItems", high=len(node["prefixItems"])),
    ("prefixItems", "maxItems"): lambda node: count(node, "maxItems", low=len(node["prefixItems"])),
    # "enum" and "const" become the values that they list.
    ("enum", "const"): lambda node: {json.dumps(value) for value in node["enum"]} == {json.dumps(node["const"])},
    ("enum", "minLength"): lambda node: count(node, "minLength", high=min(map(len, strings(node["enum"])))),
    ("enum", "maxLength"): lambda node: count(node, "maxLength", low=max(map(len, strings(node["enum"])))),
    # "type" reads these itself; it looks at no minimum if the maximum is 0, and at one keyword for each string.
    ("type", "items"): _always,
    ("type", "minItems"): lambda node: count(node, "minItems") and not count(node, "maxItems", high=0),
    ("type", "maxItems"): lambda node: count(node, "maxItems"),
    ("type", "uniqueItems"): lambda node: count(node, "maxItems", high=1),
    ("type", "unevaluatedItems"): lambda node: "items" in node,
    ("type", "additionalProperties"): _always,
    ("type", "unevaluatedProperties"): lambda node: "additionalProperties" in node,
    ("type", "minProperties"): lambda node: count(node, "minProperties", high=1) and "maxProperties" not in node,
    ("type", "maxProperties"): lambda node: count(node, "maxProperties", high=0),
    ("type", "minLength"): lambda node: count(node, "minLength"),
    ("type", "maxLength"): lambda node: count(node, "maxLength"),
    ("type", "pattern"): no_length,
    ("type", "format"): lambda node: no_length(node) and "pattern" not in node,
}


def decider_of(node: Any) -> str | None:
    """The keyword that decides what `node` becomes; None where the translation refuses it."""
    decider = next((keyword for keyword in DECIDERS if keyword in node), None) if isinstance(node, dict) else None
    return decider if decider and isinstance(node[decider], DECIDERS[decider]) else None


def follow(root: Schema, reference: str) -> Any:
    """What stands where `reference` leads, taken word by word as the translation does; None if nothing does."""
    node: Any = root
    for step in reference.split("/")[1:]:
        node = node.get(step) if isinstance(node, dict) else None
    return node
