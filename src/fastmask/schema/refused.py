"""What the translation refuses by itself, in words of ours: its own message names no place."""

import json
from difflib import get_close_matches

from fastmask.schema.formats import FORMATS
from fastmask.schema.rules import DECIDERS, STRING, TYPES, Schema, count, follow, kinds_of_type, no_length

__all__ = ["refusal"]

_NAMES = {dict: "an object", list: "an array", str: "a string", (str, list): "a string or an array of strings"}


def refusal(node: object, root: Schema) -> tuple[str, str] | None:
    """The keyword of `node` for which the translation gives up, and why; the keyword is empty for `node` as a whole."""
    if not isinstance(node, dict):
        return "", f"a schema is an object here, got {json.dumps(node)[:60]}"
    decider = next((keyword for keyword in DECIDERS if keyword in node), None)
    if decider is None:
        return ("", f"nothing here says what to write: expected one of {', '.join(DECIDERS)}") if node else None
    if not isinstance(node[decider], DECIDERS[decider]):
        expected = _NAMES[DECIDERS[decider]]  # "const" takes anything
        return decider, f"it must be {expected}, got {json.dumps(node[decider])[:60]}"
    if decider == "$ref":
        reason = f"there is nothing at {node['$ref']!r} in this document"
        return None if follow(root, node["$ref"]) is not None else (decider, reason)
    return _refused_type(node) if decider == "type" else None


def _refused_type(node: Schema) -> tuple[str, str] | None:
    names = node["type"] if isinstance(node["type"], list) else [node["type"]]
    for name in names:
        if not isinstance(name, str) or name not in TYPES:
            close = get_close_matches(str(name), TYPES, 1)
            return "type", f"{name!r} is no type of JSON Schema" + (f": did you mean {close[0]!r}?" if close else "")
    if not kinds_of_type(node["type"]) & STRING:
        return None
    if count(node, "minLength") and count(node, "maxLength") and node["minLength"] > node["maxLength"]:
        return "minLength", "it is more than maxLength"
    name = node.get("format")
    read = no_length(node) and not isinstance(node.get("pattern"), str)
    if read and isinstance(name, str) and name not in FORMATS:
        return "format", f"{name!r} is not known to the translation: leave it out, or write a pattern in its place"
    return None
