"""What of JSON the translation leaves out: the page `docs/how-to/schema.md` says the same in words."""

from __future__ import annotations

import pytest

import fastmask as fm

VOCABULARY = fm.Vocabulary([bytes([byte]) for byte in range(256)], eos_token_id=256)
ACCEPTED = [
    # schema, JSON texts that are accepted, JSON texts that are not
    ({"type": "number"}, ["1", "-1.5", "1e+5", "1E-5", "1.5e+3", "-0"], ["1e5", "1E5", "1.5e3"]),
    ({"type": "object"}, ["{}", '{"a":{"a":{}}}', '{"a":{"a":{"a":1}}}'], ['{"a":{"a":{"a":{}}}}']),
    ({"anyOf": [{}]}, ["[[[1]]]", '{"a":{"a":{"a":1}}}'], ["[[[[1]]]]", '{"a":{"a":{"a":{"a":1}}}}']),
    ({"properties": {"a": {"type": "null"}}, "additionalProperties": True}, ['{"a":null}'], ['{"a":null,"b":1}']),
]


@pytest.mark.parametrize(("schema", "accepted", "refused"), ACCEPTED)
def test_what_is_left_out(schema, accepted, refused):
    con = fm.Constraint.from_schema(schema, VOCABULARY)
    texts = [list(text.encode()) for text in accepted + refused]
    assert con.check(texts).complete.tolist() == [True] * len(accepted) + [False] * len(refused)


def test_a_field_of_any_type_is_refused_with_its_place():
    pydantic = pytest.importorskip("pydantic")
    anything = pydantic.create_model("Anything", a=(object, ...))
    with pytest.raises(fm.SchemaError, match="/properties/a: nothing here says what to write"):
        fm.Constraint.from_schema(anything, VOCABULARY)
