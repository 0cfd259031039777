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
from collections.abc import Iterable
from typing import Any, NamedTuple

from fastmask.errors import SchemaError
from fastmask.schema.rules import (
    ANYTHING,
    ARRAY,
    ASSERTIONS,
    FORMATS,
    NUMBER,
    OBJECT,
    REFERENCE_LIMIT,
    SATISFIED,
    STRING,
    Kinds,
    Schema,
    always_present,
    count,
    decider_of,
    follow,
    kind,
    kinds_of_type,
    listed,
    names,
    no_length,
    strings,
)
from fastmask.schema.spelling import constant_fault, pattern_fault

__all__ = ["Finding", "audit"]

Path = tuple[str | int, ...]  # keys and list positions, from the root of the schema


class Finding(NamedTuple):
    """One keyword that the translation would not enforce."""

    pointer: str
    """RFC 6901 JSON pointer to the keyword; of an empty schema, to itself."""
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
            return _outcome(ANYTHING, [_finding(path, lost)] if bare else [])
        match decider := decider_of(node):
            case None:
                return REFUSED
            case "properties":
                return self._properties(node, path, depth)
            case "enum" | "const":
                return self._constants(listed(node) or [], (*path, decider))
            case "$ref":
                return self._reference(node["$ref"], (*path, "$ref"), depth, bare)
            case "type":
                return self._type(node, path, depth)
            case _:
                return self._list(node[decider], (*path, decider), depth)

    def _with_dropped(self, outcome: _Outcome, node: Schema, path: Path) -> _Outcome:
        """The same outcome with those neighbours of the deciding keyword that get lost."""
        decider = decider_of(node)
        if decider is None or (decider == "$ref" and self.reference_stands_alone):
            return outcome
        findings = list(outcome.findings)
        beside = "" if decider == "type" else f" beside {decider!r}"
        for keyword in [keyword for keyword in node if keyword in ASSERTIONS and keyword != decider]:
            rule, satisfied = ASSERTIONS[keyword], SATISFIED.get((decider, keyword))
            kinds = ANYTHING - kinds_of_type(node["type"]) if keyword == "type" else rule.kinds
            if outcome.kinds & kinds and not rule.idle(node[keyword]) and not (satisfied and satisfied(node)):
                lost = f"it would be ignored{beside}: {rule.lost} would be accepted"
                findings.append(_finding((*path, keyword), lost))
        return _outcome(outcome.kinds, findings)

    def _properties(self, node: Schema, path: Path, depth: int) -> _Outcome:
        findings: list[Finding] = []
        for name, schema in node["properties"].items():
            place = (*path, "properties", name)
            if re.search(r'["\\\x00-\x1f]', name):
                findings.append(_finding(place, "its name would stand in the text unescaped"))
            outcome = self.visit(schema, place, depth, bare=True)
            if outcome:
                findings += outcome.findings
            elif name in always_present(node):
                lost = f"{name!r} would be left out: what it holds lies behind more than {REFERENCE_LIMIT} references"
                findings.append(_finding((*path, "required"), lost))
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
            findings.append(_finding(path, "the empty text would be accepted, which is no JSON"))
        if keyword == "allOf" and len(schemas) > 1:
            findings.append(_finding(path, "texts of its schemas would be accepted one after the other"))
        if keyword == "oneOf":
            pairs = itertools.permutations(range(len(schemas)), 2)
            if pair := next((pair for pair in pairs if not self._excludes(*(schemas[i] for i in pair))), None):
                lost = "values of schema {} would be accepted even where schema {} admits them, too".format(*pair)
                findings.append(_finding(path, lost))
        return _outcome(frozenset().union(*(outcome.kinds for outcome in outcomes if outcome)), findings)

    def _constants(self, values: list[Any], path: Path) -> _Outcome:
        faults = [fault for fault in map(constant_fault, values) if fault]
        if not values:
            faults = ["the empty text would be accepted, which is no JSON"]
        return _outcome(map(kind, values), [_finding(path, fault) for fault in faults])

    def _reference(self, reference: str, path: Path, depth: int, bare: bool) -> _Outcome | None:
        if depth == REFERENCE_LIMIT:
            return None
        if not re.fullmatch(r"#(/[^/~%]+)*", reference):
            lost = "it would be followed word by word through this document, wherever that leads"
            return _outcome(ANYTHING, [_finding(path, lost)])
        if self._inside_resource(path):
            lost = "it would be followed from the root of the document, not from the '$id' around it"
            return _outcome(ANYTHING, [_finding(path, lost)])
        return self.visit(follow(self.root, reference), tuple(reference.split("/")[1:]), depth + 1, bare)

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
        kinds = kinds_of_type(node["type"])
        findings: list[Finding] = []
        if node["type"] == []:
            findings.append(_finding((*path, "type"), "the empty text would be accepted, which is no JSON"))
        for keyword, holder, limit in (("items", ARRAY, "maxItems"), ("additionalProperties", OBJECT, "maxProperties")):
            if kinds & holder and keyword in node and not count(node, limit, high=0):
                outcome = self.visit(node[keyword], (*path, keyword), depth, bare=keyword != "items")
                if outcome is None:
                    return None
                findings += outcome.findings
        if kinds & STRING and no_length(node):
            keyword = "pattern" if isinstance(node.get("pattern"), str) else "format"
            value = str(node.get(keyword))
            fault = pattern_fault(value) if keyword == "pattern" else FORMATS.get(value)
            if fault:
                findings.append(_finding((*path, keyword), fault))
        for part in ("Fraction", "Exponent"):  # extensions of the translation
            low, high = f"minDigits{part}", f"maxDigits{part}"
            if kinds >= NUMBER and count(node, high, low=1) and not count(node, low, low=1):
                findings.append(_finding((*path, high), "numbers that end before these digits would be accepted"))
        return _outcome(kinds, findings)

    # What the branches of oneOf may have in common

    def _excludes(self, one: Any, other: Any, nested: bool = False) -> bool:
        """Whether nothing that comes out of schema `one` can be valid under schema `other`; False when in doubt."""
        one, other = self._target(one), self._target(other)
        if not (isinstance(one, dict) and isinstance(other, dict)):
            return False
        kinds = (OBJECT if "properties" in one else _admitted(one)) & _admitted(other)
        if kinds != OBJECT or "properties" not in one or nested:
            values, others = listed(one), listed(other)
            if values is None or others is None or "properties" in one:
                return not kinds
            return not any(kind(x) == kind(y) and x == y for x in values for y in others)
        closed = other.get("additionalProperties") is False and "patternProperties" not in other
        return (
            not strings(other.get("required")) <= set(names(one))
            or (closed and not always_present(one) <= set(names(other)))
            or any(self._excludes(names(one)[n], names(other).get(n), nested=True) for n in always_present(one))
        )

    def _target(self, node: Any) -> Any:
        """What decides in the place of `node`: the target of its reference, the only one of its ``allOf``."""
        for _ in range(REFERENCE_LIMIT):
            decider = decider_of(node)
            if decider == "$ref":
                node = follow(self.root, node["$ref"])
            elif decider == "allOf" and len(node["allOf"]) == 1:
                node = node["allOf"][0]
        return node


def _admitted(node: Schema) -> Kinds:
    """The kinds of value that may be valid under `node`; too many when in doubt."""
    values = listed(node)
    kinds = ANYTHING if values is None else frozenset(map(kind, values))
    return kinds & kinds_of_type(node["type"]) if "type" in node else kinds


def _outcome(kinds: Iterable[str], findings: Iterable[Finding]) -> _Outcome:
    return _Outcome(frozenset(kinds), tuple(dict.fromkeys(findings)))


def _finding(path: Path, effect: str) -> Finding:
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return Finding("".join("/" + step for step in steps), effect)
