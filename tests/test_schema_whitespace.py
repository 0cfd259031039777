"""White space between the parts of the JSON: what the pattern says, and never what JSON does not allow."""

from __future__ import annotations

import json
import re

import pytest

import fastmask as fm

VOCABULARY = fm.Vocabulary([bytes([byte]) for byte in range(256)], eos_token_id=256)
SCHEMA = {"properties": {"k": {"type": "array", "items": {"type": "null"}}}, "required": ["k"]}
SPACES = ["", " ", "  ", "\n", "\t", "\r\n   ", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u2003", "\ufeff"]


def of(pattern):
    return fm.Constraint.from_schema(SCHEMA, VOCABULARY, whitespace=pattern)


def text_with(space):
    return '{S"k"S:S[Snull,SnullS]S}'.replace("S", space)


@pytest.mark.parametrize("pattern", ["", " ?", " +", "[ \n]*", r"[ \t\n\r]*", r"(\r?\n[ ]*)?", " |\n", "\t|[ ]{2}|"])
def test_white_space_is_what_the_pattern_says(pattern):
    con = of(pattern)
    for space in SPACES:
        text = text_with(space)
        accepted = con.check([list(text.encode())]).complete.item()
        assert accepted == bool(re.fullmatch(pattern, space)), (pattern, space)
        assert not accepted or json.loads(text) == {"k": [None, None]}


BEYOND_JSON = [
    # pattern, what it lets stand between the parts
    (r"\s*", "\xa0"),
    (r"[\s]?", "\x0b"),
    (r"[^\S\n]*", "\u2003"),
    ("a", "a"),
    (" |a", "a"),
    ("(?s:.*)", "}"),
    ('(,"b":1)?', ',"b":1'),
]


@pytest.mark.parametrize(("pattern", "space"), BEYOND_JSON)
def test_what_json_does_not_allow_there_is_refused(pattern, space):
    assert re.fullmatch(pattern, space)
    with pytest.raises(ValueError, match="line 1"):
        json.loads(text_with(space))
    with pytest.raises(fm.InputError, match=r"more than JSON's white space.* r'\[ \\t\\n\\r\]\*'"):
        of(pattern)
