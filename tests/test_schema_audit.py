"""The schema audit against the translation itself: what it reports gets lost, and what it passes is kept.

Every row of the tables carries its proof, an invalid text that the translated regex accepts or refuses. The random
schemas carry theirs, too: texts drawn from the regex must be JSON and valid. The last part counts on the shared sample.
"""

import gzip
import json
import os
import re
import subprocess
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from fastmask.errors import SchemaError
from fastmask.schema.audit import audit, refused
from fastmask.schema.findings import Finding
from fastmask.schema.formats import FORMATS
from fastmask.schema.rules import ASSERTIONS, DECIDERS
from fastmask.schema.translation import translate as schema_translation

outlines_core = pytest.importorskip("outlines_core")
from outlines_core.json_schema import build_regex_from_schema  # noqa: E402


def translate(schema):
    return build_regex_from_schema(json.dumps(schema), None)


def accepts(schema, text):
    """Whether the translation of `schema` accepts `text`, as Python reads regular expressions."""
    return re.fullmatch(translate(schema), text) is not None


def index_accepts(schema, text):
    """The same by outlines-core's own index, for patterns that Python reads otherwise (slow for large schemas)."""
    vocabulary = outlines_core.Vocabulary(256, {bytes([byte]): [byte] for byte in range(256)})
    index = outlines_core.Index(translate(schema), vocabulary)
    state = index.get_initial_state()
    for byte in text.encode():
        state = index.get_next_state(state, byte)
        if state is None:
            return False
    return index.is_final_state(state)


def is_valid(schema, text):
    """Whether `text` is JSON and what it says satisfies `schema`, its formats included."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    validator = validator_for(schema, default=Draft202012Validator)
    return validator(schema, format_checker=validator.FORMAT_CHECKER).is_valid(value)


# --- one table of what is lost, one of what is kept -------------------------------------------------------------------

STRING, INTEGER, NUMBER, ARRAY, OBJECT = ({"type": name} for name in ("string", "integer", "number", "array", "object"))
NULL, BOOLEAN = {"type": "null"}, {"type": "boolean"}
A = {"properties": {"a": INTEGER}}
A_REQUIRED = A | {"required": ["a"]}
B_REQUIRED = {"properties": {"b": INTEGER}, "required": ["b"]}
DRAFT_4, DRAFT_7 = ({"$schema": f"http://json-schema.org/draft-0{n}/schema#"} for n in (4, 7))
CHAIN = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(4)} | {"d4": INTEGER}

LOST = [
    # schema, pointer, an invalid text that is accepted
    # - "type" drops what it does not read
    (INTEGER | {"minimum": 5}, "/minimum", "4"),
    (INTEGER | {"maximum": 5}, "/maximum", "6"),
    (NUMBER | {"exclusiveMinimum": 0}, "/exclusiveMinimum", "0"),
    (NUMBER | {"exclusiveMaximum": 5}, "/exclusiveMaximum", "5"),
    (NUMBER | {"multipleOf": 2}, "/multipleOf", "3"),
    (STRING | {"maxLength": 3, "pattern": "^a+$"}, "/pattern", '"b"'),
    (STRING | {"minLength": 0, "pattern": "^a+$"}, "/pattern", '"b"'),
    (STRING | {"minLength": 1, "format": "uuid"}, "/format", '"b"'),
    (STRING | {"pattern": "a", "format": "uuid"}, "/format", '"a"'),
    (STRING | {"maxLength": 2.0}, "/maxLength", '"abc"'),
    (STRING | {"minLength": 1.0}, "/minLength", '""'),
    (STRING | {"not": {"const": "a"}}, "/not", '"a"'),
    (STRING | {"if": STRING, "then": {"minLength": 1}}, "/then", '""'),
    (INTEGER | {"if": STRING, "else": {"minimum": 1}}, "/else", "0"),
    (STRING | {"$dynamicRef": "#x", "$defs": {"x": {"$dynamicAnchor": "x", "minLength": 1}}}, "/$dynamicRef", '""'),
    (ARRAY | {"items": NULL, "uniqueItems": True}, "/uniqueItems", "[null,null]"),
    (ARRAY | {"items": INTEGER, "contains": {"const": 1}}, "/contains", "[2]"),
    (ARRAY | {"items": NULL, "maxItems": 1.0}, "/maxItems", "[null,null]"),
    (ARRAY | {"maxItems": 0, "minItems": 1}, "/minItems", "[]"),
    (ARRAY | {"maxItems": 1, "unevaluatedItems": NULL}, "/unevaluatedItems", "[1]"),
    (OBJECT | {"additionalProperties": NULL, "required": ["a"]}, "/required", "{}"),
    (OBJECT | {"additionalProperties": NULL, "minProperties": 2}, "/minProperties", '{"a":null}'),
    (OBJECT | {"additionalProperties": NULL, "maxProperties": 1}, "/maxProperties", '{"a":null,"b":null}'),
    (OBJECT | {"maxProperties": 0, "minProperties": 1}, "/minProperties", "{}"),
    (OBJECT | {"additionalProperties": NULL, "propertyNames": {"maxLength": 1}}, "/propertyNames", '{"ab":null}'),
    (OBJECT | {"additionalProperties": NULL, "patternProperties": {"^a": STRING}}, "/patternProperties", '{"a":null}'),
    (OBJECT | {"additionalProperties": NULL, "dependentRequired": {"a": ["b"]}}, "/dependentRequired", '{"a":null}'),
    (OBJECT | {"unevaluatedProperties": False, "depth": 0}, "/unevaluatedProperties", '{"a":1}'),
    # - "properties" drops what stands beside it
    (A | ARRAY, "/type", "{}"),
    (A | {"enum": [{"a": 1}]}, "/enum", '{"a":2}'),
    (A | {"const": {"a": 1}}, "/const", '{"a":2}'),
    (A | {"$ref": "#/$defs/x", "$defs": {"x": {"required": ["a"]}}}, "/$ref", "{}"),
    (A | {"allOf": [A_REQUIRED]}, "/allOf", "{}"),
    (A | {"anyOf": [A_REQUIRED, B_REQUIRED]}, "/anyOf", "{}"),
    (A | {"oneOf": [A_REQUIRED, B_REQUIRED]}, "/oneOf", "{}"),
    (A | {"required": ["b"]}, "/required", "{}"),
    (A | {"minProperties": 1}, "/minProperties", "{}"),
    (A | {"maxProperties": 0}, "/maxProperties", '{"a":1}'),
    (A | {"patternProperties": {"^a$": {"minimum": 1}}}, "/patternProperties", '{"a":0}'),
    (A | {"dependentSchemas": {"a": {"required": ["b"]}}}, "/dependentSchemas", '{"a":1}'),
    (A | DRAFT_7 | {"dependencies": {"a": ["b"]}}, "/dependencies", '{"a":1}'),
    # - the other deciding keywords drop what stands beside them
    ({"anyOf": [STRING, NULL], "maxLength": 1}, "/maxLength", '"ab"'),
    ({"anyOf": [STRING, NULL], "type": "string"}, "/type", "null"),
    ({"allOf": [ARRAY | {"items": NULL}], "minItems": 1}, "/minItems", "[]"),
    ({"allOf": [ARRAY | {"items": NULL}], "items": INTEGER}, "/items", "[null]"),
    ({"allOf": [ARRAY | {"items": NULL}], "prefixItems": [INTEGER]}, "/prefixItems", "[null]"),
    ({"allOf": [OBJECT | {"maxProperties": 0}], "required": ["a"]}, "/required", "{}"),
    ({"oneOf": [A], "additionalProperties": False}, "/additionalProperties", '{"a":1}'),
    ({"prefixItems": [NULL], "minItems": 2}, "/minItems", "[null]"),
    ({"prefixItems": [NULL, NULL], "maxItems": 1}, "/maxItems", "[null,null]"),
    ({"enum": [1, "a"], "type": "string"}, "/type", "1"),
    ({"enum": ["a", "abc"], "maxLength": 1}, "/maxLength", '"abc"'),
    ({"enum": ["a", "abc"], "minLength": 2}, "/minLength", '"a"'),
    ({"enum": ["a", "b"], "const": "a"}, "/const", '"b"'),
    ({"$ref": "#/$defs/x", "$defs": {"x": INTEGER}, "minimum": 1}, "/minimum", "0"),
    # - what the deciding keywords do themselves
    ({"properties": {"a": {}}, "required": ["a"]}, "/properties/a", '{"a":true'),
    ({"properties": {"a": {"$ref": "#/$defs/x"}}, "required": ["a"], "$defs": {"x": {}}}, "/$defs/x", '{"a":true'),
    (OBJECT | {"additionalProperties": {}}, "/additionalProperties", "{null}"),
    ({"prefixItems": [{}]}, "/prefixItems/0", "[true"),
    ({"properties": {'a"': NULL}}, '/properties/a"', '{"a"":null}'),
    ({"properties": {"a\\n/~": NULL}, "additionalProperties": False}, "/properties/a\\n~1~0", '{"a\\n/~":null}'),
    ({"allOf": [INTEGER, NULL]}, "/allOf", "1null"),
    ({"allOf": []} | NULL, "/allOf", ""),
    ({"anyOf": []}, "/anyOf", ""),
    ({"oneOf": []}, "/oneOf", ""),
    ({"enum": []}, "/enum", ""),
    ({"type": []}, "/type", ""),
    ({"oneOf": [INTEGER, NUMBER]}, "/oneOf", "1"),
    ({"oneOf": [A, A_REQUIRED]}, "/oneOf", '{"a":1}'),
    ({"oneOf": [STRING, {"enum": ["a", 1]}]}, "/oneOf", '"a"'),
    ({"const": {"a.b": 1}}, "/const", '{"axb":1}'),
    ({"enum": [[{'"': 1}]]}, "/enum", '[{""":1}]'),
    ({"const": 2**64 + 1}, "/const", "1.8446744073709552e+19"),
    ({"const": 5e24}, "/const", "4.999999999999999e+24"),
    (NUMBER | {"maxDigitsFraction": 2}, "/maxDigitsFraction", "1."),
    # - references
    ({"$ref": "$defs/x", "$defs": {"x": INTEGER}}, "/$ref", None),  # leads out of this document
    ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "/required", '{"a":{"a":{"a":{"a":{}}}}}'),
    ({"properties": {"a": {"$ref": "#/$defs/d0"}}, "required": ["a"], "$defs": CHAIN}, "/required", "{}"),
    ({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": INTEGER | {"minimum": 1}}},
     "/$defs/x/minimum", '{"a":0}'),
    ({"properties": {"a": {"$id": "x:y", "properties": {"b": {"$ref": "#"}}, "required": ["b"]}}},
     "/properties/a/properties/b/$ref", '{"a":{"b":{}}}'),
    # - formats
    (STRING | {"format": "date"}, "/format", '"2023-02-31"'),
    (STRING | {"format": "date-time"}, "/format", None),  # accepts "2023-02-31T00:00:00"; not all validators care
    (STRING | {"format": "time"}, "/format", '"10:00:00\\x1"'),
    (STRING | {"format": "uri"}, "/format", '"urn:a:""'),
    (STRING | {"format": "email"}, "/format", '"""@a.b"'),
]  # fmt: skip

LOST_PATTERNS = [
    # pattern, an invalid text that is accepted
    ("a|b", '"a'),
    ("^a|b$", '"a'),
    ("(a|b)|c", '"a'),
    ("^a\\$", '"a"'),
    (".", '"""'),
    ("^.*$", '"""'),
    ("\\s", '"\n"'),
    ("[^a]", '"""'),
    ('[^"\\\\]', '"\n"'),
    ("^[ -~]$", '"""'),
    ("a\\\\n", '"a\\n"'),
    ('\\"', '"""'),
    ("\\u0022", '"""'),
    ("\\w", '"\u0301"'),
    ("\\d", None),  # accepts "\u0663", which Python's patterns allow and ECMA-262's do not
    ("[^\\W]", '"\u0301"'),
    ("[[:alpha:]]", '"b"'),
    # not the same in all dialects: refused without proof
    ("(?i)a", None),
    ("(?=a)a", None),
    ("[a--]", None),
    ("[a&&b]", None),
    ("^\\<$", None),
    ("a++", None),
    ("a)(b", None),
    ("[\\w-.]", None),
]

KEPT = [
    # schema, a valid text that is accepted, an invalid one that is refused
    (STRING | {"maxLength": 2}, '"ab"', '"abc"'),
    (STRING | {"minLength": 2, "maxLength": 3, "title": "t", "x-extra": 1}, '"ab"', '"a"'),
    (STRING | {"minLength": 1, "pattern": "", "format": "password"}, '"a"', '""'),
    (STRING | {"format": "uuid"}, '"00000000-0000-0000-0000-000000000000"', '"a"'),
    (INTEGER | {"minLength": 3, "format": "int32"}, "-1", '"abc"'),
    (INTEGER | DRAFT_4 | {"exclusiveMinimum": False}, "-1", '"abc"'),
    ({"type": ["integer", "null"]}, "null", "true"),
    (ARRAY | {"items": {}, "minItems": 1, "maxItems": 2}, "[true]", "[]"),
    (ARRAY | {"items": INTEGER, "uniqueItems": False, "minItems": 2, "unevaluatedItems": False}, "[1,1]", "[1]"),
    (ARRAY | {"items": INTEGER, "maxItems": 1, "uniqueItems": True}, "[1]", "[1,1]"),
    (OBJECT | {"additionalProperties": INTEGER, "minProperties": 1}, '{"a":1}', "{}"),
    (OBJECT | {"maxProperties": 0}, "{}", '{"a":1}'),
    (A_REQUIRED | OBJECT | {"additionalProperties": False}, '{"a":1}', "{}"),
    (A_REQUIRED | {"minProperties": 1, "maxProperties": 1, "patternProperties": {"^b": NULL}}, '{"a":1}', "{}"),
    (A | {"unevaluatedProperties": False, "if": {}, "minimum": 3}, "{}", '{"b":1}'),
    ({"prefixItems": [INTEGER, NULL], "minItems": 2, "maxItems": 2, "items": False}, "[1,null]", "[1]"),
    ({"prefixItems": [INTEGER], "unevaluatedItems": False}, "[1]", "[1,1]"),
    (OBJECT | {"additionalProperties": INTEGER, "unevaluatedProperties": False}, '{"a":1}', '{"a":null}'),
    ({"anyOf": [STRING | {"maxLength": 1}, NULL], "type": ["string", "null"], "default": None}, '"a"', '"ab"'),
    ({"anyOf": [{}, INTEGER]}, "{}", "{"),
    ({"allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": INTEGER, "unused": {"minimum": 1}}}, "1", "null"),
    ({"enum": ["a", 1, None, [1.5, {"b": 2**63}]], "type": ["string", "number", "null", "array"]}, "1", "2"),
    ({"enum": ["ab", "abc"], "minLength": 2, "maxLength": 3, "type": "string"}, '"ab"', '"a"'),
    ({"enum": ["a"], "const": "a", "type": "string"}, '"a"', '"b"'),
    ({"const": 'a"\\\n.\u00e9'}, '"a\\"\\\\\\n.\u00e9"', '"a\\"\\\\\\nx\u00e9"'),
    ({"const": 0.1}, "0.1", "0.2"),
    ({"properties": {"a.b+": NULL}, "additionalProperties": False}, '{"a.b+":null}', '{"axb+":null}'),
    ({"properties": {"a": {"$ref": "#"}}, "additionalProperties": False}, '{"a":{"a":{}}}', '{"a":{"b":{}}}'),
    ({"properties": {"a": {"$ref": "#/$defs/d1"}}, "required": ["a"], "$defs": CHAIN}, '{"a":1}', "{}"),
    # the branches of oneOf have nothing in common
    ({"oneOf": [STRING, INTEGER, NULL]}, "1", "1.5"),
    ({"oneOf": [{"enum": ["a", 1]}, {"const": "b"}, {"const": True}]}, '"b"', '"c"'),
    ({"oneOf": [A_REQUIRED, B_REQUIRED]}, '{"a":1}', '{"a":1,"b":1}'),
    ({"oneOf": [A_REQUIRED | {"additionalProperties": False}, {"allOf": [{"$ref": "#/$defs/x"}]}]}
     | {"$defs": {"x": {"properties": {"b": NULL}, "additionalProperties": False}}}, "{}", '{"a":1,"b":null}'),
    ({"oneOf": [{"properties": {"k": {"const": tag}}, "required": ["k"]} for tag in "ab"]}, '{"k":"a"}', "{}"),
]  # fmt: skip

KEPT_PATTERNS = [
    # pattern, a valid text that is accepted, an invalid one that is refused
    ("^[A-Z]{2}[0-9]+$", '"AB1"', '"AB"'),
    ("^(a|b)$", '"a"', '"c"'),
    ("^(?:a|b){2,3}?$", '"ab"', '"a"'),
    ("^(?<year>[0-9]{4})-[0-9]*$", '"2024-"', '"20-"'),
    ("^\\.[\\-_.,;+~@%a-z]\\/$", '".-/"', '"x-/"'),
    ('^[^"\\\\\\x00-\\x1f]{2}$', '"\u00e9b"', '"a"'),
    ("^[\\u00e9-\\u00fc]$", '"\u00ea"', '"a"'),
    ("^a\\|b$", '"a|b"', '"a"'),
    ("", '""', "1"),
]


def rows(table):
    return [pytest.param(*row, id=json.dumps(row[0])[:100]) for row in table]


@pytest.mark.parametrize(("schema", "pointer", "text"), rows(LOST))
def test_what_is_lost_is_found(schema, pointer, text):
    (finding,) = audit(schema)
    assert finding.pointer == pointer
    assert len(finding.effect) > 20
    if text is not None:
        assert accepts(schema, text)
        assert not is_valid(schema, text)


@pytest.mark.parametrize(("pattern", "text"), rows(LOST_PATTERNS))
def test_patterns_that_would_change_are_found(pattern, text):
    schema = STRING | {"pattern": pattern}
    assert [finding.pointer for finding in audit(schema)] == ["/pattern"]
    if text is not None:
        assert index_accepts(schema, text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Python's re on what reads like a nested set
            assert not is_valid(schema, text)


@pytest.mark.parametrize(("schema", "valid", "invalid"), rows(KEPT))
def test_what_is_kept_is_no_finding(schema, valid, invalid):
    assert audit(schema) == []
    assert accepts(schema, valid)
    assert is_valid(schema, valid)
    assert not accepts(schema, invalid)


@pytest.mark.parametrize(("pattern", "valid", "invalid"), rows(KEPT_PATTERNS))
def test_patterns_that_stay_the_same_are_no_finding(pattern, valid, invalid):
    schema = STRING | {"pattern": pattern}
    assert audit(schema) == []
    assert index_accepts(schema, valid)
    assert not index_accepts(schema, invalid)


IDLE = {"then": {}, "else": True, "minLength": 0, "pattern": "", "format": "int32", "uniqueItems": False, "minItems": 0}
IDLE |= {key: [] for key in ["prefixItems", "required"]}
IDLE |= {key: {} for key in ["items", "unevaluatedItems", "unevaluatedProperties", "propertyNames"]}
IDLE |= {key: {} for key in ["patternProperties", "dependentRequired", "dependentSchemas", "dependencies"]}
IDLE |= {"exclusiveMinimum": False, "exclusiveMaximum": False, "additionalProperties": True, "minProperties": 0}


@pytest.mark.parametrize("keyword", IDLE)
def test_keywords_that_refuse_nothing_are_no_finding(keyword):
    schema = {"anyOf": [{}]}
    assert audit(schema | {keyword: IDLE[keyword]}) == []
    assert keyword in ASSERTIONS


def test_every_rule_has_its_row():
    in_table = {keyword for schema, pointer, _ in LOST for keyword in pointer.split("/")}
    synonyms = {"$recursiveRef"}  # a draft's older name for $dynamicRef
    assert set(ASSERTIONS) | set(DECIDERS) <= in_table | synonyms


# --- the manner of reporting ------------------------------------------------------------------------------------------


def test_findings_name_pointer_and_effect():
    schema = {"properties": {"a/b~": {"anyOf": [STRING, NULL], "maxLength": 3}}, "required": ["a/b~"]}
    assert audit(schema) == [
        Finding(
            "/properties/a~1b~0/maxLength",
            "it would be ignored beside 'anyOf': longer strings would be accepted",
        )
    ]


INSTANCES = {
    # format: texts that it means, texts that it does not
    "date": (["2026-11-22", "2024-02-29"], ["2026-13-01", "26-11-22", "\u0662\u0660\u0662\u0666-11-22"]),
    "time": (["10:00:00Z", "23:59:59.25-01:30"], ["10:00:00", "24:00:00Z", "10:00:00\\.5Z"]),
    "date-time": (["2026-11-22T10:00:00Z"], ["2026-11-22T10:00:00", "2026-11-22", "12026-11-22T10:00:00Z"]),
    "uri": (["https://example.org/a?b=c#d"], ["example", 'https://example.org/"', "https://example.org/a b"]),
    "email": (["ada.l+x@example.org"], ["ada", '"@example.org', "ada@"]),
}


@pytest.mark.parametrize("name", [name for name, fault in FORMATS.items() if fault])
def test_refused_formats_name_a_pattern_that_does(name):
    (fault,) = audit(STRING | {"format": name})
    (pattern,) = re.findall(r'write the pattern "([^"]*)"', fault.effect)
    schema = STRING | {"pattern": pattern}
    assert audit(schema) == []
    meant, others = INSTANCES[name]
    for text in meant:
        assert accepts(schema, json.dumps(text))
        assert is_valid(STRING | {"format": name}, json.dumps(text))
    assert not any(accepts(schema, json.dumps(text, ensure_ascii=False)) for text in others)


def test_findings_come_once_and_in_the_order_of_the_schema():
    item = INTEGER | {"maximum": 3, "minimum": 1}
    schema = {"properties": {"b": {"$ref": "#/$defs/i"}, "a": {"$ref": "#/$defs/i"}, "c": STRING | {"not": NULL}}}
    pointers = [finding.pointer for finding in audit(schema | {"$defs": {"i": item}})]
    assert pointers == ["/$defs/i/maximum", "/$defs/i/minimum", "/properties/c/not"]


def test_neighbours_of_references_count_since_2019():
    schema = {"$ref": "#/definitions/x", "minimum": 1, "definitions": {"x": INTEGER}}
    assert audit({"$schema": "http://json-schema.org/draft-07/schema#"} | schema) == []
    assert audit({"$schema": "https://json-schema.org/draft/2019-09/schema"} | schema) != []


@pytest.mark.parametrize(
    "schema", [True, False, {}, {"type": "any"}, {"properties": []}, {"$ref": "#"}, {"anyOf": [True]}]
)
def test_what_the_translation_refuses_is_no_finding(schema):
    assert audit(schema) == []


REFUSED = [
    # schema that the translation refuses, the place of the fault, words of what is said about it
    ({"properties": {"a": {"type": "strng"}}}, "/properties/a/type", "'strng' is no type.*'string'"),
    ({"type": ["null", 3]}, "/type", "3 is no type"),
    ({"type": [["null"]]}, "/type", "is no type"),
    (ARRAY | {"items": {"type": 3}}, "/items/type", "a string or an array of strings, got 3"),
    ({"anyOf": [{}, False]}, "/anyOf/1", "an object here, got false"),
    (True, "", "an object here, got true"),
    ({"properties": {"a": {"not": {}}}}, "/properties/a", "expected one of properties, allOf, "),
    ({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"title": "x"}}}, "/$defs/x", "expected one of"),
    ({"properties": {"a": {"$ref": "#/$defs/x"}}}, "/properties/a/$ref", "nothing at '#/\\$defs/x'"),
    ({"enum": "a"}, "/enum", 'an array, got "a"'),
    ({"properties": []}, "/properties", "an object, got"),
    (OBJECT | {"additionalProperties": False}, "/additionalProperties", "got false"),
    (STRING | {"format": "ipv4"}, "/format", "'ipv4' is not known"),
    (STRING | {"minLength": 3, "maxLength": 2}, "/minLength", "more than maxLength"),
]


@pytest.mark.parametrize(("schema", "pointer", "words"), rows(REFUSED))
def test_what_the_translation_refuses_has_a_place(schema, pointer, words):
    with pytest.raises((ValueError, TypeError)):
        translate(schema)
    (fault,) = refused(schema)
    assert fault.pointer == pointer
    assert re.search(words, fault.effect)
    with pytest.raises(SchemaError, match=f"translated:\n  {re.escape(pointer or '/')}: .*{words}"):
        schema_translation(json.dumps(schema))


def test_what_is_refused_for_unknown_reasons_is_said_in_one_line():
    with pytest.raises(SchemaError, match=r"^this JSON schema cannot be translated: [^\n]*$"):
        schema_translation(json.dumps({"$ref": "#"}))


MISSPELT = [
    # keyword, what was meant, its value
    ("propertys", "properties", {"a": INTEGER}),
    ("Properties", "properties", {"a": INTEGER}),
    ("require", "required", ["a"]),
    ("additional_properties", "additionalProperties", False),
    ("maxlength", "maxLength", 3),
    ("min-items", "minItems", 3),
    ("item", "items", INTEGER),
    ("foramt", "format", "uuid"),
    ("patern", "pattern", "a"),
    ("type:", "type", "string"),
    ("oneof", "oneOf", [NULL]),
    ("ref", "$ref", "#/$defs/x"),
    ("minimun", "minimum", 3),
]


@pytest.mark.parametrize(("keyword", "meant", "value"), MISSPELT)
def test_misspelt_keywords_are_found(keyword, meant, value):
    for schema in ({"anyOf": [NULL]}, {"anyOf": [NULL], "not": {}}, {}):  # whether or not it can be translated
        wrong = {"properties": {"a~": schema | {keyword: value}}}
        found = [finding for finding in audit(wrong) if "did you mean" in finding.effect]
        assert [finding.pointer for finding in found] == [f"/properties/a~0/{keyword}"]
        assert f"did you mean {meant!r}?" in found[0].effect


def test_unknown_keywords_are_annotations():
    unknown = "note form name unit property options constant axPattern titel descripton _format @type x-type"
    for keyword in unknown.split():
        assert audit(STRING | {keyword: "a"}) == [], keyword
    assert audit(STRING | {"types": ["string"]}) == []  # the keyword that it looks like is there


def test_only_keywords_are_misspelt():
    """Names and values are no keywords, wherever they stand."""
    slip = {"propertys": {"require": 1}}
    schema = {
        "properties": {"require": STRING, "propertys": {"enum": ["minimun"]}, "typ": {"anyOf": [{"const": "patern"}]}},
        "$defs": {"requires": STRING},
        "default": slip,
        "examples": [slip],
        "x-require": slip,
    }
    assert audit(schema) == []
    assert audit({"enum": ["a"], "examples": [slip], "$comment": "typ"}) == []


def test_references_that_fan_out_take_no_time():
    width = 60
    schema = {"properties": {str(i): {"$ref": "#"} for i in range(width)}, "minProperties": 1}
    assert [finding.pointer for finding in audit(schema)] == ["/minProperties"]


def test_deep_nesting_is_an_error_not_a_crash():
    schema = INTEGER
    for _ in range(5000):
        schema = {"anyOf": [schema]}
    with pytest.raises(SchemaError, match="nested too deeply"):
        audit(schema)


# --- random schemas ---------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d.e", 'f"'])
COUNTS = st.sampled_from([0, 1, 2, 3, 2.0])
BOUNDS = st.sampled_from([1, 2, 2.5])
PATTERNS = st.sampled_from(
    [pattern for pattern, text, *_ in LOST_PATTERNS + KEPT_PATTERNS if text and "?<" not in pattern]
)
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
VALUES = st.recursive(
    st.sampled_from([None, True, False, -1, 0, 1, 1.0, 0.5, 2**70, "", "a", "ab", "\u00e9", "a|b", '"', "\n"]),
    lambda values: st.lists(values, max_size=2) | st.dictionaries(NAMES, values, max_size=2),
    max_leaves=4,
)


def one_keyword(keywords, values):
    return st.sampled_from(keywords.split()).flatmap(lambda keyword: st.fixed_dictionaries({keyword: values}))


def schemas_over(inner):
    """Schemas whose parts are `inner`: a keyword that decides, and few others."""
    lists, dicts = st.lists(inner, min_size=1, max_size=2), st.dictionaries(NAMES, inner, max_size=3)
    required = st.fixed_dictionaries({}, optional={"required": st.lists(NAMES, max_size=2)})
    deciding = st.one_of(
        st.builds(dict, one_keyword("type", TYPES | st.lists(TYPES, min_size=1, max_size=2))),
        st.builds(lambda a, b: a | b, one_keyword("properties", dicts), required),
        one_keyword("anyOf oneOf allOf prefixItems", lists),
        one_keyword("items", inner).map(ARRAY.__or__),
        one_keyword("additionalProperties", inner).map(OBJECT.__or__),
        one_keyword("pattern", PATTERNS).map(STRING.__or__),
        one_keyword("enum", st.lists(VALUES, min_size=1, max_size=3)),
        one_keyword("const", VALUES),
        st.sampled_from([{}, {"$ref": "#/$defs/x"}]),
    )
    beside = st.one_of(
        st.just({}),
        one_keyword("minimum maximum exclusiveMinimum exclusiveMaximum multipleOf", BOUNDS),
        one_keyword("minLength maxLength minItems maxItems minProperties maxProperties", COUNTS),
        one_keyword("if then else not contains items additionalProperties propertyNames unevaluatedItems", inner),
        one_keyword("allOf anyOf oneOf prefixItems", lists),
        one_keyword("properties patternProperties dependentSchemas", dicts),
        one_keyword("uniqueItems unevaluatedProperties additionalProperties", st.booleans()),
        one_keyword("type", TYPES),
        one_keyword("pattern", PATTERNS),
        one_keyword("format", st.sampled_from(["uuid", "date", "email", "password"])),
        one_keyword("enum", st.lists(VALUES, min_size=1, max_size=3)),
        one_keyword("const", VALUES),
        one_keyword("required", st.lists(NAMES, max_size=2)),
        one_keyword("$ref", st.just("#/$defs/x")),
    )
    return st.builds(lambda decider, *others: others[0] | others[1] | decider, deciding, beside, beside)


SCHEMAS = st.builds(
    lambda schema, x: schema | {"$defs": {"x": x}},
    st.recursive(TYPES.map(lambda name: {"type": name}), schemas_over, max_leaves=6),
    st.sampled_from([INTEGER, STRING | {"maxLength": 1}, A_REQUIRED, {}, {"properties": {"a": {"$ref": "#/$defs/x"}}}]),
)
SEEN = Counter()
EXAMPLES = int(os.environ.get("FASTMASK_EXAMPLES", "200"))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS, data=st.data())
def check_random_schema(schema, data):
    findings = audit(schema)
    try:
        regex = translate(schema)
        re.compile(regex)  # fails where a minimum is above its maximum
    except (ValueError, re.error):
        SEEN["refused by the translation"] += 1
        return
    assert refused(schema) == []
    if findings or len(regex) > 20_000:
        SEEN["findings" if findings else "too large"] += 1
        return
    SEEN["no findings"] += 1
    text = data.draw(st.from_regex(regex, fullmatch=True))
    assert is_valid(schema, text), text
    for value in data.draw(st.lists(VALUES, max_size=5)):
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        assert is_valid(schema, text) or not re.fullmatch(regex, text), text


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")  # Python's re on patterns of other dialects
def test_random_schemas_without_findings_accept_valid_json_only():
    SEEN.clear()
    check_random_schema()
    print(SEEN)
    assert SEEN["no findings"] > SEEN.total() / 10  # or else it would prove nothing
    assert SEEN["findings"] > SEEN.total() / 10


# --- the shared sample ------------------------------------------------------------------------------------------------

SHARED = Path(os.environ.get("FASTMASK_SHARED", Path(__file__).parents[1].parent / "shared"))
SAMPLE = SHARED / "data" / "jsonschemabench" / "sample.jsonl.gz"
LONGEST_REGEX = 100_000  # Python takes seconds to read longer ones
MATCHER = """
import json, re, sys
for line in sys.stdin:
    regex, texts = json.loads(line)
    print(json.dumps([re.fullmatch(regex, text) is not None for text in texts]), flush=True)
"""


class Matcher:
    """Matching in a process of its own, because Python's matching may take forever and cannot be interrupted."""

    def __init__(self, seconds):
        self.seconds, self.process = seconds, None

    def __call__(self, regex, texts):
        """For each text whether `regex` matches it; None if that takes too long."""
        if self.process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
            self.process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", MATCHER], **pipes)
        timer = threading.Timer(self.seconds, self.process.kill)
        timer.start()
        self.process.stdin.write(json.dumps([regex, texts]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        timer.cancel()
        if not answer:
            self.close()
        return json.loads(answer) if answer else None

    def close(self):
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.mark.skipif(not SAMPLE.is_file(), reason=f"no sample of schemas at {SAMPLE}; set FASTMASK_SHARED")
def test_no_invalid_instance_of_the_sample_is_accepted():
    counts, wrong = Counter(), []
    matcher = Matcher(seconds=5)
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            schema, tests = row["schema"], row["tests"]
            if audit(schema):
                counts["refused by the audit"] += 1
                continue
            try:
                regex = translate(schema)
            except ValueError:
                counts["refused by the translation"] += 1
                counts["refused without a place"] += not refused(schema)
                continue
            assert refused(schema) == []
            counts["accepted"] += 1
            separators = [(",", ":"), (", ", ": ")]
            texts = [json.dumps(t["data"], separators=s, ensure_ascii=False) for t in tests for s in separators]
            matches = matcher(regex, texts) if len(regex) <= LONGEST_REGEX else None
            if matches is None:
                counts["not matched: too large"] += 1
                continue
            verdicts = [any(matches[2 * i : 2 * i + 2]) for i in range(len(tests))]
            valid = [test["valid"] for test in tests]
            wrong += (
                [row["name"]] if any(verdict > truth for verdict, truth in zip(verdicts, valid, strict=True)) else []
            )
            counts["right on all instances"] += bool(tests) and verdicts == valid
            counts["invalid instances refused"] += valid.count(False)
    matcher.close()
    print(counts)
    assert wrong == []
    assert counts["invalid instances refused"] > 450  # or else it would prove nothing
    assert counts["accepted"] >= 310
    assert counts["refused without a place"] < counts["refused by the translation"] / 2
    assert counts["right on all instances"] >= 270
    assert counts["not matched: too large"] <= 20
