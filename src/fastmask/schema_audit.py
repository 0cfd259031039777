"""Which keywords of a JSON schema outlines-core would silently drop or weaken.

The audit retraces the translation and looks for one kind of fault only: *wrong acceptance*, text that the regex admits
although it is not JSON or breaks the schema. A translation that is merely narrower than the schema is no fault.

How the translation reads a schema: the first keyword of :data:`DECIDERS` that is present decides, and its neighbours
are not looked at, except those that it reads itself (``properties`` reads ``required``, ``type`` reads what belongs to
the types it names). So a schema is sound if, at every place that the translation visits,

1. what the deciding keyword becomes is right by itself (:class:`_Audit`, one method for each), and
2. every other assertion (:data:`ASSERTIONS`) refuses nothing, concerns kinds of value that cannot come out there, or
   is satisfied anyway (:data:`SATISFIED`).

Where JSON Schema leaves room, the stricter reading holds: ``format`` is an assertion, and patterns mean what ECMA-262
says (``\\d`` is ``[0-9]``).
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from fastmask.errors import SchemaError

__all__ = ["Finding", "audit"]

Schema = dict[str, Any]
Path = tuple[str | int, ...]  # keys and list positions, from the root of the schema
Kinds = frozenset[str]  # JSON's types, with numbers split so that "integer" is a part of "number"


class Finding(NamedTuple):
    """One keyword that the translation would not enforce."""

    pointer: str
    """RFC 6901 JSON pointer to the keyword."""
    keyword: str
    """The keyword itself; ``{}`` for an empty schema, whose pointer is then its own."""
    effect: str
    """What would have happened, a sentence."""


def audit(schema: Schema | bool) -> list[Finding]:
    """Everything in `schema` that the translated regex would not enforce; an empty list means that nothing is lost.

    Only what the translation visits is audited: targets of ``$ref`` where they are used, unused definitions never.
    What the translation refuses by itself (``false``, unknown types, …) is no finding.
    """
    try:
        schema = json.loads(json.dumps(schema))  # as the translation gets it: no tuples, no names but strings
        outcome = _Audit(schema).visit(schema, (), depth=0, bare=False) if isinstance(schema, dict) else None
    except RecursionError:
        raise SchemaError("the schema is nested too deeply to be audited; flatten it") from None
    return list(outcome.findings) if outcome else []


# --- reading what stands in a schema, right or wrong ------------------------------------------------------------------

NUMBER, STRING, ARRAY, OBJECT = map(frozenset, (["integer", "fraction"], ["string"], ["array"], ["object"]))
TYPES = {name: frozenset([name]) for name in ("null", "boolean", "integer", "string", "array", "object")}
TYPES["number"] = NUMBER
ANYTHING: Kinds = frozenset().union(*TYPES.values())


def _kinds_of_type(value: Any) -> Kinds:
    """The kinds that a ``type`` keyword names."""
    return frozenset().union(*(TYPES.get(name, ()) for name in _strings(value) | _strings([value])))


def _kind(value: Any) -> str:
    """The kind of one JSON value."""
    if isinstance(value, float):
        return "integer" if value.is_integer() else "fraction"
    named = {type(None): "null", bool: "boolean", int: "integer", str: "string", list: "array"}
    return named.get(type(value), "object")


def _strings(value: Any) -> set[str]:
    return {item for item in value if isinstance(item, str)} if isinstance(value, list) else set()


def _count(node: Schema, keyword: str, low: float = 0, high: float = float("inf")) -> bool:
    """Whether `keyword` is there as a count from `low` to `high`. The translation overlooks counts written ``2.0``."""
    value = node.get(keyword)
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _names(node: Schema) -> Schema:
    names = node.get("properties")
    return names if isinstance(names, dict) else {}


def _always_present(node: Schema) -> set[str]:
    return _strings(node.get("required")) & set(_names(node))


def _listed(node: Schema) -> list[Any] | None:
    """The only values that `node` admits, if it lists them."""
    values = node.get("enum", [node["const"]] if "const" in node else None)
    return values if isinstance(values, list) else None


# --- the rules --------------------------------------------------------------------------------------------------------

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
FORMATS = {
    # The formats that it translates, and what is wrong with that.
    "date-time": "times without an offset, 31 February and years of any length would be accepted",
    "date": "31 February and digits outside of ASCII would be accepted",
    "time": "times without an offset, and a backslash before a fraction, which is no JSON, would be accepted",
    "uri": "unescaped quotes and backslashes would be accepted, which is no JSON",
    "email": "unescaped quotes, backslashes and control characters would be accepted, which is no JSON",
    "uuid": None,
}
OTHER_FORMATS = (
    # Those of JSON Schema that it refuses, unless it overlooks them. Any other format asserts nothing.
    *("duration", "hostname", "idn-hostname", "idn-email", "ipv4", "ipv6", "uri-reference", "iri", "iri-reference"),
    *("uri-template", "json-pointer", "relative-json-pointer", "regex"),
)


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
    "required": _Assertion(OBJECT, "objects without these names", lambda value: not _strings(value)),
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


def _no_length(node: Schema) -> bool:
    return "minLength" not in node and "maxLength" not in node


def _always(_: Schema) -> bool:
    return True


SATISFIED: dict[tuple[str, str], Callable[[Schema], bool]] = {
    # (deciding keyword, other keyword): whether all that comes out satisfies the other one anyway.
    # "properties" becomes an object that has no other names, and each of them at most once.
    ("properties", "required"): lambda node: _strings(node["required"]) <= set(node["properties"]),
    ("properties", "additionalProperties"): _always,
    ("properties", "unevaluatedProperties"): _always,
    ("properties", "patternProperties"): _no_name_matches,
    ("properties", "minProperties"): lambda node: _count(node, "minProperties", high=len(_always_present(node))),
    ("properties", "maxProperties"): lambda node: _count(node, "maxProperties", low=len(node["properties"])),
    # "prefixItems" becomes an array of exactly these elements.
    ("prefixItems", "items"): _always,
    ("prefixItems", "unevaluatedItems"): _always,
    ("prefixItems", "minItems"): lambda node: _count(node, "minItems", high=len(node["prefixItems"])),
    ("prefixItems", "maxItems"): lambda node: _count(node, "maxItems", low=len(node["prefixItems"])),
    # "enum" and "const" become the values that they list.
    ("enum", "const"): lambda node: {json.dumps(value) for value in node["enum"]} == {json.dumps(node["const"])},
    ("enum", "minLength"): lambda node: _count(node, "minLength", high=min(map(len, _strings(node["enum"])))),
    ("enum", "maxLength"): lambda node: _count(node, "maxLength", low=max(map(len, _strings(node["enum"])))),
    # "type" reads these itself; it looks at no minimum if the maximum is 0, and at one keyword for each string.
    ("type", "items"): _always,
    ("type", "minItems"): lambda node: _count(node, "minItems") and not _count(node, "maxItems", high=0),
    ("type", "maxItems"): lambda node: _count(node, "maxItems"),
    ("type", "uniqueItems"): lambda node: _count(node, "maxItems", high=1),
    ("type", "unevaluatedItems"): lambda node: "items" in node,
    ("type", "additionalProperties"): _always,
    ("type", "unevaluatedProperties"): lambda node: "additionalProperties" in node,
    ("type", "minProperties"): lambda node: _count(node, "minProperties", high=1) and "maxProperties" not in node,
    ("type", "maxProperties"): lambda node: _count(node, "maxProperties", high=0),
    ("type", "minLength"): lambda node: _count(node, "minLength"),
    ("type", "maxLength"): lambda node: _count(node, "maxLength"),
    ("type", "pattern"): _no_length,
    ("type", "format"): lambda node: _no_length(node) and "pattern" not in node,
}

# --- patterns, names and constants: what they become inside of JSON ---------------------------------------------------

UNSAFE_CHARACTERS = "".join(map(chr, range(0x20))) + '"\\'  # a JSON string must escape them; a pattern does not
_ESCAPE = r"\\(?:[dwsDWSnrtfv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|(?![<>])[ -/:-@\[-`{-~])"
_PATTERN_TOKEN = re.compile(
    rf"(?P<character>[^\\\[\](){{}}|*+?^$]|{_ESCAPE}|\[\^?(?:(?!&&|--|~~|\|\|)[^\\\[\]]|{_ESCAPE})+\])"
    r"|(?P<open>\((?:\?:|\?<[A-Za-z_]\w*>|(?!\?)))|(?P<close>\))|(?P<either>\|)"
    r"|(?:[*+?]|\{\d+(?:,\d*)?\})\??(?![*+?{])|[\^$]"
)


def _pattern_fault(pattern: str) -> str | None:
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


def _constant_fault(value: Any) -> str | None:
    """What is wrong with the translation of one listed value."""
    if isinstance(value, list):
        return next(filter(None, map(_constant_fault, value)), None)
    if isinstance(value, dict):
        if names := [name for name in value if re.search(r'[\\.+*?()|\[\]{}^$"\x00-\x1f]', name)]:
            return f"the name {names[0]!r} would be read as a regular expression"
        return _constant_fault(list(value.values()))
    if (isinstance(value, int) and not -(2**63) <= value < 2**64) or (isinstance(value, float) and not _float_kept(value)):
        return f"{value!r} may lose its last digits, and another number be accepted"
    return None


def _float_kept(value: float) -> bool:
    """Whether the translation surely reads the decimal form of `value` as `value`: its reader rounds only once."""
    _, digits, exponent = Decimal(repr(value)).as_tuple()
    return len(digits) <= 15 and isinstance(exponent, int) and abs(exponent) <= 22


# --- the walk ---------------------------------------------------------------------------------------------------------


class _Outcome(NamedTuple):
    """What the translation makes of one schema at one place."""

    kinds: Kinds
    findings: tuple[Finding, ...]


REFUSED = _Outcome(frozenset(), ())  # by the translation itself


class _Audit:
    """One pass over one schema."""

    def __init__(self, root: Schema):
        self.root = root
        draft = re.search(r"draft-0([3-7])", str(root.get("$schema")))
        self.reference_stands_alone = bool(draft)  # until draft 7, the neighbours of $ref do not count
        self.id_keyword = "id" if draft and draft[1] in "34" else "$id"
        self.outcomes: dict[tuple[Path, int, bool], _Outcome | None] = {}

    def visit(self, node: Any, path: Path, depth: int, bare: bool) -> _Outcome | None:
        """The outcome for `node`, which stands at `path`; None where the translation gives up for depth.

        `depth` counts the references that led here. `bare`: the result stands between other text without parentheses.
        """
        key = (path, depth, bare)
        if key not in self.outcomes:
            outcome = self._decide(node, path, depth, bare)
            self.outcomes[key] = outcome and self._with_dropped(outcome, node, path)
        return self.outcomes[key]

    def _decide(self, node: Any, path: Path, depth: int, bare: bool) -> _Outcome | None:
        if node == {}:
            lost = "its alternatives would not be held together: text cut off after 'true' would be accepted"
            return _outcome(ANYTHING, [_finding(path, "{}", lost)] if bare else [])
        match decider := _decider(node):
            case None:
                return REFUSED
            case "properties":
                return self._properties(node, path, depth)
            case "enum" | "const":
                return self._constants(_listed(node) or [], (*path, decider))
            case "$ref":
                return self._reference(node["$ref"], (*path, "$ref"), depth, bare)
            case "type":
                return self._type(node, path, depth)
            case _:
                return self._list(node[decider], (*path, decider), depth)

    def _with_dropped(self, outcome: _Outcome, node: Schema, path: Path) -> _Outcome:
        """The same outcome with those neighbours of the deciding keyword that get lost."""
        decider = _decider(node)
        if decider is None or (decider == "$ref" and self.reference_stands_alone):
            return outcome
        findings = list(outcome.findings)
        beside = "" if decider == "type" else f" beside {decider!r}"
        for keyword in [keyword for keyword in node if keyword in ASSERTIONS and keyword != decider]:
            rule, satisfied = ASSERTIONS[keyword], SATISFIED.get((decider, keyword))
            kinds = ANYTHING - _kinds_of_type(node["type"]) if keyword == "type" else rule.kinds
            if outcome.kinds & kinds and not rule.idle(node[keyword]) and not (satisfied and satisfied(node)):
                lost = f"it would be ignored{beside}: {rule.lost} would be accepted"
                findings.append(_finding((*path, keyword), keyword, lost))
        return _outcome(outcome.kinds, findings)

    def _properties(self, node: Schema, path: Path, depth: int) -> _Outcome:
        findings: list[Finding] = []
        for name, schema in node["properties"].items():
            place = (*path, "properties", name)
            if re.search(r'["\\\x00-\x1f]', name):
                findings.append(_finding(place, "properties", "its name would stand in the text unescaped"))
            outcome = self.visit(schema, place, depth, bare=True)
            if outcome:
                findings += outcome.findings
            elif name in _always_present(node):
                lost = f"{name!r} would be left out: what it holds lies behind more than {REFERENCE_LIMIT} references"
                findings.append(_finding((*path, "required"), "required", lost))
        return _outcome(OBJECT, findings)

    def _list(self, schemas: list[Any], path: Path, depth: int) -> _Outcome | None:
        """``allOf``, ``anyOf``, ``oneOf`` and ``prefixItems``."""
        keyword = str(path[-1])
        outcomes = [self.visit(schema, (*path, i), depth, keyword == "prefixItems") for i, schema in enumerate(schemas)]
        if None in outcomes:
            return None
        findings = [finding for outcome in outcomes if outcome for finding in outcome.findings]
        if keyword == "prefixItems":
            return _outcome(ARRAY, findings)
        if not schemas:
            findings.append(_finding(path, keyword, "the empty text would be accepted, which is no JSON"))
        if keyword == "allOf" and len(schemas) > 1:
            findings.append(_finding(path, keyword, "texts of its schemas would be accepted one after the other"))
        if keyword == "oneOf":
            pairs = itertools.permutations(range(len(schemas)), 2)
            if pair := next((pair for pair in pairs if not self._excludes(*(schemas[i] for i in pair))), None):
                lost = "values of schema {} would be accepted even where schema {} admits them, too".format(*pair)
                findings.append(_finding(path, keyword, lost))
        return _outcome(frozenset().union(*(outcome.kinds for outcome in outcomes if outcome)), findings)

    def _constants(self, values: list[Any], path: Path) -> _Outcome:
        faults = [fault for fault in map(_constant_fault, values) if fault]
        if not values:
            faults = ["the empty text would be accepted, which is no JSON"]
        return _outcome(map(_kind, values), [_finding(path, str(path[-1]), fault) for fault in faults])

    def _reference(self, reference: str, path: Path, depth: int, bare: bool) -> _Outcome | None:
        if depth == REFERENCE_LIMIT:
            return None
        if not re.fullmatch(r"#(/[^/~%]+)*", reference):
            lost = "it would be followed word by word through this document, wherever that leads"
            return _outcome(ANYTHING, [_finding(path, "$ref", lost)])
        if self._inside_resource(path):
            lost = "it would be followed from the root of the document, not from the '$id' around it"
            return _outcome(ANYTHING, [_finding(path, "$ref", lost)])
        return self.visit(self._follow(reference), tuple(reference.split("/")[1:]), depth + 1, bare)

    def _follow(self, reference: str) -> Any:
        """What stands where `reference` leads, taken word by word as the translation does; None if nothing does."""
        node: Any = self.root
        for step in reference.split("/")[1:]:
            node = node.get(step) if isinstance(node, dict) else None
        return node

    def _inside_resource(self, path: Path) -> bool:
        """Whether `path` passes a schema, below the root, with an identifier of its own."""
        node: Any = self.root
        for step in path[:-1]:
            node = node[step]
            name = node.get(self.id_keyword) if isinstance(node, dict) else None
            if isinstance(name, str) and not name.startswith("#"):
                return True
        return False

    def _type(self, node: Schema, path: Path, depth: int) -> _Outcome | None:
        kinds = _kinds_of_type(node["type"])
        findings: list[Finding] = []
        if node["type"] == []:
            findings.append(_finding((*path, "type"), "type", "the empty text would be accepted, which is no JSON"))
        for keyword, kind, limit in (("items", ARRAY, "maxItems"), ("additionalProperties", OBJECT, "maxProperties")):
            if kinds & kind and keyword in node and not _count(node, limit, high=0):
                outcome = self.visit(node[keyword], (*path, keyword), depth, bare=keyword != "items")
                if outcome is None:
                    return None
                findings += outcome.findings
        if kinds & STRING and _no_length(node):
            keyword = "pattern" if isinstance(node.get("pattern"), str) else "format"
            value = str(node.get(keyword))
            fault = _pattern_fault(value) if keyword == "pattern" else FORMATS.get(value)
            if fault:
                findings.append(_finding((*path, keyword), keyword, fault))
        for part in ("Fraction", "Exponent"):  # extensions of the translation
            low, high = f"minDigits{part}", f"maxDigits{part}"
            if kinds >= NUMBER and _count(node, high, low=1) and not _count(node, low, low=1):
                findings.append(_finding((*path, high), high, "numbers that end before these digits would be accepted"))
        return _outcome(kinds, findings)

    # What the branches of oneOf may have in common

    def _excludes(self, one: Any, other: Any, nested: bool = False) -> bool:
        """Whether nothing that comes out of schema `one` can be valid under schema `other`; False when in doubt."""
        one, other = self._target(one), self._target(other)
        if not (isinstance(one, dict) and isinstance(other, dict)):
            return False
        kinds = (OBJECT if "properties" in one else _admitted(one)) & _admitted(other)
        if kinds != OBJECT or "properties" not in one or nested:
            values, others = _listed(one), _listed(other)
            if values is None or others is None or "properties" in one:
                return not kinds
            return not any(_kind(x) == _kind(y) and x == y for x in values for y in others)
        closed = other.get("additionalProperties") is False and "patternProperties" not in other
        return (
            not _strings(other.get("required")) <= set(_names(one))
            or (closed and not _always_present(one) <= set(_names(other)))
            or any(self._excludes(_names(one)[n], _names(other).get(n), nested=True) for n in _always_present(one))
        )

    def _target(self, node: Any) -> Any:
        """What decides in the place of `node`: the target of its reference, the only one of its ``allOf``."""
        for _ in range(REFERENCE_LIMIT):
            decider = _decider(node)
            if decider == "$ref":
                node = self._follow(node["$ref"])
            elif decider == "allOf" and len(node["allOf"]) == 1:
                node = node["allOf"][0]
        return node


def _admitted(node: Schema) -> Kinds:
    """The kinds of value that may be valid under `node`; too many when in doubt."""
    values = _listed(node)
    listed = ANYTHING if values is None else frozenset(map(_kind, values))
    return listed & _kinds_of_type(node["type"]) if "type" in node else listed


def _decider(node: Any) -> str | None:
    """The keyword that decides what `node` becomes; None where the translation refuses it."""
    decider = next((keyword for keyword in DECIDERS if keyword in node), None) if isinstance(node, dict) else None
    return decider if decider and isinstance(node[decider], DECIDERS[decider]) else None


def _outcome(kinds: Iterable[str], findings: Iterable[Finding]) -> _Outcome:
    return _Outcome(frozenset(kinds), tuple(dict.fromkeys(findings)))


def _finding(path: Path, keyword: str, effect: str) -> Finding:
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return Finding("".join("/" + step for step in steps), keyword, effect)
