"""Runs of any task: rows of input and answer under any schema, the split, and what is left out and why."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("conllu")

from tokenizers import normalizers

import fastmask as fm
from fastmask.canonical import canonical_tokens
from fastmask.cli.loading import absolute_schema
from tests.training_kit import BYTES, EOS, ByteTokenizer, one_thread, treebank
from training import distil, evaluate, finetune, label, prepare, teacher
from training.data.examples import NO_WORD, encode, prompt_of, require_room
from training.data.records import Record, read_jsonl, split_by_document
from training.data.sift import NOT_SPELLED, REFUSED, TOO_LONG, sift
from training.data.tokenizer import train_bpe
from training.errors import TrainingError
from training.run import open_run, write_json
from training.schema import TAGGING, answer, to_json

MODEL = """
from __future__ import annotations
from typing import Literal
from pydantic import BaseModel

class Opinion(BaseModel):
    about: Thing
    good: bool

class Thing(BaseModel):
    name: str
    kind: Literal["food", "place"]
"""
RIGHT = [
    {
        "input": f"The {name} was {'fine' if good else 'bad'}.",
        "answer": {"about": {"name": name, "kind": kind}, "good": good},
    }
    for name, kind in [("soup", "food"), ("café", "place"), ("tea", "food"), ("hotel", "place"), ("rice", "food")]
    for good in (True, False)
]


@pytest.fixture
def written(tmp_path):
    def write(rows, name="rows.jsonl"):
        path = tmp_path / name
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_bytes("\n".join(lines).encode())
        return str(path)

    return write


@pytest.fixture
def schema(tmp_path):
    path = tmp_path / "opinions.py"
    path.write_text(MODEL)
    return f"{path}:Opinion"


def left_out(folder):
    return [json.loads(line) for line in (folder / "left_out.jsonl").read_text(encoding="utf-8").splitlines()]


# --- rows ----------------------------------------------------------------------------------------------------------


def test_rows_of_text_and_of_json_values(written):
    rows = [
        "\ufeff" + json.dumps({"input": "a", "answer": '{"x": 1}', "document": "d"}),
        "",
        {"input": "b\u2028c", "answer": {"x": "é", "y": [1, None]}, "document": 3, "model": "ignored"},
        {"input": "", "answer": None},
    ]
    first, second, third = read_jsonl([written(rows)])
    assert (first.text, first.answer, first.place) == ("a", '{"x": 1}', "rows.jsonl:1")
    assert (second.text, second.answer, second.place) == ("b\u2028c", '{"x":"é","y":[1,null]}', "rows.jsonl:3")
    assert (third.text, third.answer, third.name) == ("", "null", "rows.jsonl:4")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"input": "x"}',
            r'line 2: expected \{"input": text, "answer": text or JSON value\}, got \{\'input\': \'x\'\}',
        ),
        ('{"answer": "x"}', "line 2: expected"),
        ('{"input": 1, "answer": "x"}', "line 2: expected"),
        ("[1]", "line 2: expected"),
        ('{"input": "x"', "line 2: no JSON"),
        ("[" * 100_000, "line 2: no JSON"),
        (r'{"input": "\ud83e", "answer": 1}', "line 2: half of a surrogate pair"),
    ],
)
def test_a_row_that_is_none_is_named_with_its_line(written, line, message):
    with pytest.raises(TrainingError, match=message):
        read_jsonl([written([RIGHT[0], line])])


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"input": "caf\xe9", "answer": 1}\n')
    with pytest.raises(TrainingError, match=r"line 1: no JSON.*utf-8"):
        read_jsonl([path])
    with pytest.raises(TrainingError, match="there is no file"):
        read_jsonl([tmp_path / "none.jsonl"])


def test_documents_are_split_whole_and_other_rows_one_by_one(written):
    files = [
        written(
            [
                {"input": f"{name} {i}", "answer": 1, **({"document": i % 7} if i % 3 else {"document": None})}
                for i in range(60)
            ],
            f"{name}.jsonl",
        )
        for name in ("one", "two")
    ]
    records = read_jsonl(files)
    assert len({record.document for record in records}) == 7 + 2 * 20  # a document may stand in several files
    train, heldout = split_by_document(records, 0.3, seed=1)
    assert {record.text for record in train + heldout} == {record.text for record in records}
    assert 0.3 * 120 <= len(heldout) < 0.3 * 120 + 2 * 6  # as many as wanted, but for the last document
    assert not {record.document for record in train} & {record.document for record in heldout}
    assert split_by_document(records, 0.3, seed=1) == (train, heldout)
    assert split_by_document(records, 0.3, seed=2) != (train, heldout)
    with pytest.raises(TrainingError, match=r"cannot hold out 30% of 2 record\(s\).*give more documents"):
        split_by_document([record for record in records if record.document == ("", "1")][:2], 0.3, seed=1)


def test_the_split_takes_documents_until_the_share_is_reached():
    @dataclass(frozen=True)
    class Sized:
        document: tuple

    records = [Sized(("", str(size))) for size in (1, 2, 4, 8, 16) for _ in range(size)]
    for seed in range(20):
        _, heldout = split_by_document(records, 0.2, seed)
        sizes = sorted(Counter(record.document for record in heldout).values())
        assert sum(sizes) >= 0.2 * 31
        assert sum(sizes) - sizes[-1] < 0.2 * 31 or len(sizes) == 1


# --- runs ----------------------------------------------------------------------------------------------------------


def test_a_task_without_tags_goes_all_the_way(written, schema, tmp_path, capsys):
    run = prepare.prepare(tmp_path, jsonl=[written(RIGHT)], schema=schema)
    assert (len(run.train), len(run.heldout), run.left_out) == (8, 2, [])
    assert {example.name for example in run.train} == {record.name for record in run.records}
    again = open_run(tmp_path)
    assert again.settings == run.settings
    assert again.con.fingerprint == run.con.fingerprint
    assert again.train == run.train
    assert again.heldout == run.heldout

    teacher.main(tmp_path, steps=2, sloppiness=1.0, layers=1, width=32)
    distil.main(tmp_path, steps=2, layers=1, width=64)
    finetune.main(tmp_path, steps=2)
    evaluate.main(tmp_path, samples=2)
    models = run.numbers()["models"]
    assert models["teacher"]["sloppiness"] == 1
    for model in models.values():
        assert set(model["scores"]) == {"loss", "invalid_mass", "invalid_mass_median", "invalid_mass_p99"}
        assert not {"words", "tags_of_copies"} & set(model)
        assert all(set(look) == {"step", "training_loss", "loss", "invalid_mass"} for look in model["history"])
    assert (again.load("teacher").config.n_embd, again.load("student").config.n_embd) == (32, 64)
    rows = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    assert rows[2].split(" | ")[3] == "–"


def test_tags_are_those_of_whole_entries_only():
    def words(text):
        return set(encode("e", "a", text, ByteTokenizer(), BYTES).word) - {NO_WORD}

    assert words(answer([("a", "X"), ('"}', "VERB")])) == {0, 1}
    for other in (
        {"pos": "NOUN"},
        {"text": "a", "pos": "N"},
        {"text": "a", "pos": "NOUN", "more": 1},
        {"said": '{"text":"a","pos":"X"}'},
    ):
        assert words(to_json(other)) == set()


def test_schemas_of_every_kind_mean_the_same(written, schema, tmp_path, monkeypatch):
    file = tmp_path / "opinion.json"
    namespace = {"__name__": "opinions"}
    exec(MODEL.replace("from __future__ import annotations", "").replace("about: Thing", "about: 'Thing'"), namespace)
    namespace["Opinion"].model_rebuild(_types_namespace=namespace)
    file.write_text(json.dumps(namespace["Opinion"].model_json_schema()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    runs = [
        prepare.prepare(tmp_path / f"run{i}", jsonl=[written(RIGHT)], schema=given)
        for i, given in enumerate([schema, "opinions.py:Opinion", "opinions:Opinion", str(file)])
    ]
    assert len({run.con.fingerprint for run in runs}) == 1
    assert all(open_run(run.folder).con.fingerprint == run.con.fingerprint for run in runs)


def test_runs_from_before_there_were_rows_are_of_a_treebank(treebank, tmp_path):
    run = prepare.prepare(tmp_path, treebank=[treebank])
    numbers = run.numbers()
    assert numbers["settings"].pop("schema") == TAGGING
    assert numbers["settings"].pop("jsonl") == []
    (tmp_path / "numbers.json").write_text(json.dumps(numbers))
    assert open_run(tmp_path).train == run.train


# --- what is left out ----------------------------------------------------------------------------------------------


def test_what_is_left_out_is_told_with_its_place_and_reason(written, schema, tmp_path, capsys):
    wrong = {"input": "?", "answer": {"about": {"name": "tea", "kind": "drink"}, "good": True}}
    cut = {"input": "?", "answer": '{"about":{"name":"tea"'}
    long = {"input": "very " * 600, "answer": RIGHT[0]["answer"]}
    rows = [*RIGHT[:3], wrong, *RIGHT[3:6], long, *RIGHT[6:], cut]
    run = prepare.prepare(tmp_path, jsonl=[written(rows)], heldout=[written(RIGHT, "held.jsonl")], schema=schema)
    assert (len(run.train), len(run.heldout)) == (10, 10)
    first, second, third = left_out(tmp_path)
    assert (first["place"], first["reason"]) == ("rows.jsonl:4", REFUSED)
    assert first["message"] == 'expected "f" or "p", got "d", after {"about":{"name":"tea","kind":"'
    assert (second["place"], second["reason"]) == ("rows.jsonl:8", TOO_LONG)
    assert second["message"] == f"{second['tokens']:,} tokens, 512 fit"
    assert (third["place"], third["reason"]) == ("rows.jsonl:13", REFUSED)
    assert third["message"].endswith('got the end of the text, after {"about":{"name":"tea"')

    data = run.numbers()["data"]
    assert {key: data[key] for key in ("records", "accepted", "refused", "too_long", "train", "heldout")} == {
        "records": 23, "accepted": 21, "refused": 2, "too_long": 1, "train": 10, "heldout": 10
    }  # fmt: skip
    assert data["longest"] == second["tokens"] > 600
    said = " ".join(capsys.readouterr().out.split())
    assert "21 of 23 answers accepted by the schema" in said
    assert 'rows.jsonl:4 refused by the schema: expected "f" or "p", got "d"' in said
    assert "rows.jsonl:8 too long: " in said
    assert "left_out.jsonl" in said


def test_a_refusal_far_into_an_answer_shows_what_stands_before_it():
    con = fm.Constraint.from_regex("[a-z]*", BYTES)
    records = [Record(f"{i}", "f:1", ("f", i), "x", text) for i, text in enumerate(["", "a" * 99 + "9", "9", "ok"])]
    fine, deep, at_once, also_fine = sift(records, ByteTokenizer(), con, 200)
    assert [fine.answer, also_fine.answer] == [[EOS], [*b"ok", EOS]]
    assert deep.message == f'expected a letter a to z or the end of the text, got "9", after …{"a" * 60}'
    assert at_once.message.endswith('got "9", at the beginning')
    assert str(at_once).startswith("f:1 (2) refused by the schema: expected")


def test_what_the_tokenizer_cannot_spell_is_left_out(written, schema, tmp_path):
    lower = train_bpe(["the tea was fine", "abc"])
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    lower.save_pretrained(tmp_path / "lower")
    shout = {"input": "?", "answer": {"about": {"name": "TEA", "kind": "food"}, "good": True}}
    run = prepare.prepare(
        tmp_path / "run", jsonl=[written([*RIGHT, shout])], schema=schema, tokenizer=str(tmp_path / "lower")
    )
    (row,) = left_out(tmp_path / "run")
    assert (row["place"], row["reason"], row["tokens"]) == ("rows.jsonl:11", NOT_SPELLED, 0)
    assert "expected the same bytes" in row["message"]
    assert run.numbers()["data"]["accepted"] == 10


def test_nothing_that_can_be_learnt_from(written, schema, tmp_path):
    refused = [{"input": "x", "answer": "no"}] * 4
    with pytest.raises(
        TrainingError, match=r"0 to learn from, 0 held out; left out: 4 refused by the schema, see .*left_out.jsonl"
    ):
        prepare.prepare(tmp_path, jsonl=[written(refused)], schema=schema)
    assert [row["place"] for row in left_out(tmp_path)] != []
    with pytest.raises(TrainingError, match="holds no run"):
        open_run(tmp_path)
    with pytest.raises(TrainingError, match=r"10 too long, see .*; allow a greater --max-length than 9"):
        prepare.prepare(tmp_path, jsonl=[written(RIGHT)], schema=schema, max_length=9)
    with pytest.raises(TrainingError, match="0 to learn from, 0 held out; left out: none"):
        prepare.prepare(tmp_path, jsonl=[written([])], heldout=[written([])], schema=schema)
    with pytest.raises(TrainingError, match=r"cannot hold out 15% of 0 record\(s\)"):
        prepare.prepare(tmp_path, jsonl=[written([])], schema=schema)


# --- what cannot be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schema": "x:Y"}, "--schema goes with --jsonl"),
        ({"schema": "x:Y", "treebank": ["a.conllu"]}, "--schema goes with --jsonl"),
        ({"jsonl": ["a.jsonl"]}, "give --schema"),
        ({"jsonl": ["a.jsonl"], "treebank": ["a.conllu"], "schema": "x:Y"}, "--treebank or --jsonl, not both"),
    ],
)
def test_options_that_do_not_go_together(options, message, tmp_path):
    with pytest.raises(TrainingError, match=message):
        prepare.prepare(tmp_path, **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("no_such_module:Name", "'no_such_module:Name' cannot be imported: ModuleNotFoundError"),
        ("training.schema:Nobody", "AttributeError: .* has no attribute 'Nobody'"),
        ("nowhere.py:Name", "nowhere.py:Name' cannot be imported: FileNotFoundError"),
        ("nowhere.json", "neither a file of JSON, nor a schema's text"),
        ("{here}/broken.py:Name", "SyntaxError"),
        ("{here}/broken.py", "neither a file of JSON"),
        ("{here}/broken.json", "not JSON"),
        ("training.schema:TAGGING", "not JSON"),
    ],
)
def test_a_schema_that_cannot_be_had(given, message, written, tmp_path):
    (tmp_path / "broken.py").write_text("class Name(:\n")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(fm.FastmaskError, match=message):
        prepare.prepare(tmp_path, jsonl=[written(RIGHT)], schema=given.format(here=tmp_path))


def test_a_prompt_that_leaves_no_room(written, schema, tmp_path):
    run = prepare.prepare(tmp_path, jsonl=[written(RIGHT)], schema=schema, max_length=99)
    fitting = prompt_of("fits", "tea", run.tokenizer)
    con = fm.Constraint.from_choices(["yes", "no"], run.vocab)
    need = len(canonical_tokens("no", run.tokenizer, run.vocab)) + 1  # with the end
    assert need > 1
    require_room([fitting], fitting.start + need, con)
    with pytest.raises(TrainingError, match=f"a prompt of {fitting.start} tokens leaves no room.*'fits'"):
        require_room([fitting], fitting.start + need - 1, con)
    with pytest.raises(TrainingError, match=r"leaves no room for an answer of .* models read 99"):
        label.label(run, teacher.new_teacher(run), ["tea", "tea " * 99], tmp_path / "answers.jsonl")
    with pytest.raises(TrainingError, match="no text to answer"):
        label.label(run, teacher.new_teacher(run), [], tmp_path / "answers.jsonl")
    assert not (tmp_path / "answers.jsonl").exists()


# --- from anywhere -------------------------------------------------------------------------------------------------


def test_a_run_is_opened_from_any_folder(written, schema, tmp_path, monkeypatch):
    """All of its paths were given from a folder that later stages do not stand in."""
    written(RIGHT, "b.jsonl"), written(RIGHT, "a.jsonl")
    (tmp_path / "far" / "away").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    run = prepare.prepare(
        Path("run"), jsonl=["b.jsonl", "far/../a.jsonl"], schema="opinions.py:Opinion", heldout=["a.jsonl"]
    )
    run.tokenizer.save_pretrained("tokenizer")
    prepare.prepare(Path("other"), jsonl=["b.jsonl"], schema="opinions.py:Opinion", tokenizer="tokenizer")
    monkeypatch.chdir(tmp_path / "far" / "away")
    again = open_run(tmp_path / "run")
    assert (again.train, again.heldout) == (run.train, run.heldout)
    assert open_run(tmp_path / "other").settings.tokenizer == str((tmp_path / "tokenizer").resolve())
    same = {
        "jsonl": ["../../b.jsonl", "../../a.jsonl"],
        "schema": "../../opinions.py:Opinion",
        "heldout": ["../../a.jsonl"],
    }
    assert prepare.prepare(tmp_path / "run", **same).settings == run.settings


@pytest.mark.parametrize("kind", ["opinions.py:Opinion", "opinions.json", '{"type": "object"}', "package.module:Model"])
def test_a_schema_wherever_it_is_asked_from(kind, schema, tmp_path, monkeypatch):
    (tmp_path / "opinions.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert absolute_schema(kind) == (f"{tmp_path.resolve() / kind}" if kind.startswith("opinions") else kind)


def test_a_run_with_paths_as_they_were_given_goes_on(written, schema, tmp_path, monkeypatch):
    """As the first runs hold them: opened, and prepared again, from the folder of then."""
    written(RIGHT, "rows.jsonl")
    monkeypatch.chdir(tmp_path)
    asked = {"jsonl": ["rows.jsonl"], "schema": "opinions.py:Opinion"}
    run = prepare.prepare(tmp_path / "run", **asked)
    run.record("student", title="a student")
    numbers = run.numbers()
    numbers["settings"] |= asked
    write_json(tmp_path / "run" / "numbers.json", numbers)
    assert open_run(tmp_path / "run").train == run.train
    again = prepare.prepare(tmp_path / "run", **asked)
    assert again.numbers() == numbers
    with pytest.raises(TrainingError, match="settings: seed was 0, is now 1"):
        prepare.prepare(tmp_path / "run", **asked, seed=1)


# --- what a disk or another program has damaged --------------------------------------------------------------------


@pytest.mark.parametrize("content", ["{", "[]", '{"models": {}}', "\udcff"])
def test_numbers_that_are_damaged_are_named(written, schema, tmp_path, content):
    prepare.prepare(tmp_path, jsonl=[written(RIGHT)], schema=schema)
    (tmp_path / "numbers.json").write_bytes(content.encode(errors="surrogateescape"))
    for opened in (open_run, lambda run: prepare.prepare(run, jsonl=[written(RIGHT)], schema=schema)):
        with pytest.raises(TrainingError, match=r"numbers.json is damaged: .*delete it and prepare the run anew"):
            opened(tmp_path)


def test_a_model_that_is_damaged_is_named(written, schema, tmp_path):
    run = prepare.prepare(tmp_path, jsonl=[written(RIGHT)], schema=schema)
    teacher.main(tmp_path, steps=1, layers=1, width=32)
    (tmp_path / "teacher" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(TrainingError, match=r"no causal language model can be loaded from .*teacher"):
        run.load("teacher")


def test_sentences_to_label_end_at_ends_of_lines_alone(written, schema, tmp_path, monkeypatch):
    prepare.prepare(tmp_path, jsonl=[written(RIGHT)], schema=schema)
    teacher.main(tmp_path, steps=1, layers=1, width=32)
    texts = tmp_path / "texts.txt"
    texts.write_bytes("\ufeffone\u2028still one\r\n\n two\x85\n".encode())
    asked = []
    monkeypatch.setattr(label, "label", lambda run, model, texts, out, **_: asked.extend(texts) or Counter())
    label.main(tmp_path, out=tmp_path / "answers.jsonl", inputs=texts)
    assert asked == ["one\u2028still one", " two\x85"]
    texts.write_bytes(b"caf\xe9")
    with pytest.raises(TrainingError, match=r"texts.txt cannot be read as UTF-8 text"):
        label.main(tmp_path, out=tmp_path / "answers.jsonl", inputs=texts)
