"""What the benchmarks measure on: answers that satisfy their schemas, the same ones each time, and wide enough."""

import json

import pytest

pytest.importorskip("transformers")
pytest.importorskip("jsonschema")

import jsonschema

import fastmask as fm
from benchmarks import texts
from benchmarks.formats import ARTICLE, FORMATS, inlined
from benchmarks.workloads import workloads


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_answers_satisfy_their_schema(format):
    validator = jsonschema.Draft202012Validator(json.loads(format.schema))
    answers = format.answers(True)
    assert answers
    for answer in answers:
        validator.validate(json.loads(answer))
    broken = answers[0].replace('":', '!":', 1)  # another name for a required property
    assert not validator.is_valid(json.loads(broken)), "the schema accepts anything"


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_answers_are_drawn_the_same_each_time(format):
    assert format.answers(True) == format.answers(True)
    assert format.reason


def test_constraints_take_every_answer_as_complete():
    seen = list(workloads(quick=True))
    assert [workload.format for workload in seen] == FORMATS  # one tokenizer, so no format is left out
    for workload in seen:
        check = workload.constraint().check(workload.answers)
        assert check.complete.all(), workload.name


def test_formats_are_what_their_reasons_say():
    answers = {format.name: [json.loads(text) for text in format.answers(True)] for format in FORMATS}
    assert len(set(texts.LABELS)) == 1_000
    assert max(map(depth, answers["tool call"])) == 11
    assert all(len(article["body"]) >= 1_000 for article in answers["free text"])
    samples = [str(x) for record in answers["numbers"] for reading in record["readings"] for x in reading["samples"]]
    assert any("e" in sample for sample in samples)


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, inner), default=0) if isinstance(value, (dict, list)) else 0


def test_inlined_schema_accepts_what_the_original_does():
    schema = {
        "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/b"}}, "b": {"type": "integer"}},
        "$ref": "#/$defs/a",
    }
    assert inlined(schema) == {"type": "array", "items": {"type": "integer"}}


def test_article_is_measured_under_every_tokenizer_and_others_under_the_first(monkeypatch):
    import benchmarks.workloads as module

    (tokenizer,) = module.tokenizers(True).values()
    monkeypatch.setattr(module, "tokenizers", lambda quick: {"first": tokenizer, "second": tokenizer})
    monkeypatch.setattr(module, "workload", lambda format, name, quick: (format.name, name))
    seen = list(module.workloads(True))
    assert ("article", "second") in seen
    assert {name for name, tokenizer in seen if tokenizer == "second"} == {ARTICLE.name}
    assert len(seen) == len(FORMATS) + 1


def test_vocabulary_of_a_workload_is_its_tokenizers():
    workload = next(workloads(quick=True))
    assert workload.vocabulary.size == fm.Vocabulary.from_tokenizer(workload.tokenizer).size
