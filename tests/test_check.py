"""`check_corpus` and the commands `check` and `annotate`, against json and jsonschema and counts taken by hand."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import fastmask as fm

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("conllu")
pytest.importorskip("typer")
jsonschema = pytest.importorskip("jsonschema")

from typer.testing import CliRunner  # noqa: E402

from fastmask.cli import app  # noqa: E402
from fastmask.cli.wording import as_options  # noqa: E402
from fastmask.corpus import Annotator, Columns, read_records  # noqa: E402
from fastmask.corpus.check import check_corpus  # noqa: E402

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
GOOD = '{"name":"Zoë","age":3}'
ANSWERS = [
    GOOD,
    '{"name":"Ann","age":x}',  # broken at character 20
    '{"name":"Bo',  # cut off behind 11
    '{"name": "Ann", "age": 12}',
    '{"name":"Ann" ; "age":1}',  # broken at 14
]


@pytest.fixture
def con(bpe):
    return fm.Constraint.from_schema(PERSON, bpe.vocabulary)


@pytest.fixture
def corpus(tmp_path):
    """Five answers, and two records that are none, on lines of their own; an empty line counts as none."""
    lines = [json.dumps({"answer": answer}) for answer in ANSWERS]
    lines[3:3] = ["", '{"answer": null}', '{"answer": broken']
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def folder(bpe, tmp_path):
    bpe.tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def checked(corpus, con, bpe, on_error="keep", **options):
    error = "error" if on_error == "keep" else None
    annotator = Annotator(con, Columns(answer="answer", error=error), bpe.tokenizer)
    return check_corpus(read_records(corpus, on_error=on_error, batch_size=3), annotator, **options)


def test_every_record_is_judged_and_every_finding_has_its_place(corpus, con, bpe):
    found = checked(corpus, con, bpe)
    assert found.records == 7
    assert found.verdicts == {"complete": 2, "broken": 2, "cut off": 1, "error": 2}
    assert sum(found.verdicts.values()) + found.skipped == found.records
    assert not found.passed
    at = {finding.place.split("answers.jsonl:")[1]: finding for finding in found.findings}
    assert set(at) == {"2 (record 1)", "3 (record 2)", "5 (record 3)", "6 (record 4)", "8 (record 6)"}
    assert (at["2 (record 1)"].verdict, at["2 (record 1)"].character) == ("broken", ANSWERS[1].index("x"))
    assert at["2 (record 1)"].message.endswith('got "x"')
    assert at["2 (record 1)"].before == ANSWERS[1][: ANSWERS[1].index("x")]
    assert (at["3 (record 2)"].verdict, at["3 (record 2)"].character) == ("cut off", len(ANSWERS[2]))
    assert (at["8 (record 6)"].character, at["8 (record 6)"].message) == (14, 'expected ",", got ";"')
    assert "null" in at["5 (record 3)"].message
    assert "JSON" in at["6 (record 4)"].message


def test_skipped_records_are_counted_and_told_and_move_no_place(corpus, con, bpe):
    kept, skipped = checked(corpus, con, bpe), checked(corpus, con, bpe, on_error="skip")
    assert skipped.records == kept.records == 7
    assert skipped.skipped == 2
    assert skipped.verdicts == {"complete": 2, "broken": 2, "cut off": 1}
    assert {(f.place, f.verdict) for f in skipped.findings} == {(f.place, f.verdict) for f in kept.findings}


def test_the_first_bad_record_ends_it_where_that_is_asked_for(corpus, con, bpe):
    with pytest.raises(fm.CorpusError, match=r"answers\.jsonl:[56] \(record [34]\)"):
        checked(corpus, con, bpe, on_error="raise")


def test_verdicts_are_those_of_a_validator(con, bpe, tmp_path):
    """Complete means valid JSON of the schema; all but a good answer's end is cut off."""
    texts = [GOOD[:end] for end in range(len(GOOD) + 1)] + ["{}", "[1]", GOOD + "}"]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"answer": text}) + "\n" for text in texts), encoding="utf-8")
    verdicts = checked(path, con, bpe).verdicts
    valid = 0
    for text in texts:
        try:
            jsonschema.validate(json.loads(text), PERSON)
            valid += 1
        except (ValueError, jsonschema.ValidationError):
            pass
    assert verdicts == {"complete": valid, "cut off": len(GOOD), "broken": 3}
    assert valid == 1


def test_findings_are_limited_and_counts_are_not(corpus, con, bpe):
    found = checked(corpus, con, bpe, limit=2)
    assert len(found.findings) == 2
    assert sum(found.verdicts.values()) == 7


def test_findings_are_told_in_the_order_of_the_corpus(corpus, con, bpe):
    """What could not be read among what was broken, and the first of all where only some are told."""
    lines = [2, 3, 5, 6, 8]
    for limit in range(1, 6):
        for on_error in ("keep", "skip"):
            found = checked(corpus, con, bpe, on_error=on_error, limit=limit).findings
            assert [int(f.place.split("answers.jsonl:")[1].split()[0]) for f in found] == lines[:limit]


def test_answers_spelled_otherwise_are_counted(con, bpe, tmp_path):
    canonical = bpe.tokenizer(GOOD)["input_ids"]
    by_bytes = [bpe.vocabulary.id_of(bytes([byte])) for byte in GOOD.encode()]
    assert canonical != by_bytes
    pq.write_table(pa.table({"input_ids": [canonical, by_bytes, [*canonical, bpe.eos]]}), tmp_path / "a.parquet")
    annotator = Annotator(con, Columns(tokens="input_ids"))
    records = read_records(tmp_path / "a.parquet")
    assert check_corpus(records, annotator).respelled == 0
    found = check_corpus(records, annotator, tokenizer=bpe.tokenizer)
    assert found.respelled == 1
    assert found.verdicts == {"complete": 3}
    assert found.passed


# ---- the commands -----------------------------------------------------------------------------------------------


def fastmask(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_check(corpus, folder):
    schema = json.dumps(PERSON)
    ended = fastmask("check", corpus, "--schema", schema, "--tokenizer", folder, "--json")
    assert ended.exit_code == 1
    report = json.loads(ended.stdout)
    assert report["verdicts"] == {"complete": 2, "broken": 2, "cut off": 1, "error": 2}
    shown = fastmask("check", corpus, "--schema", schema, "--tokenizer", folder)
    assert "token" in shown.stdout
    assert 'expected ",", got ";"' in shown.stdout
    corpus.write_text(json.dumps({"answer": GOOD}) + "\n", encoding="utf-8")
    assert fastmask("check", corpus, "--schema", schema, "--tokenizer", folder).exit_code == 0


def test_the_command_annotate_and_what_it_wrote_checked_again(corpus, folder, tmp_path, con, bpe):
    out = tmp_path / "out"
    arguments = [
        "annotate",
        corpus,
        "--schema",
        json.dumps(PERSON),
        "--tokenizer",
        folder,
        "--out",
        out,
        "--shard-rows",
        3,
    ]
    ended = fastmask(*arguments, "--json")
    assert ended.exit_code == 0
    assert json.loads(ended.stdout)["read"] == 7
    shards = sorted(out.glob("*.parquet"))
    assert len(shards) == 3
    table = pa.concat_tables(map(pq.read_table, shards))
    assert table["verdict"].to_pylist().count("complete") == 2
    for row in table.to_pylist():
        if row["verdict"] != "error":
            assert row["states"] == con.walk([row["input_ids"]])[0].tolist()

    from safetensors.numpy import load_file

    masks = load_file(out / "masks.safetensors")
    every = np.arange(con.num_states)
    bits = np.unpackbits(masks["rows"][masks["row_of"]].view(np.uint8), axis=1, bitorder="little")
    assert np.array_equal(bits[:, : con.vocab_size].astype(bool), con.allowed(every))

    shards[-1].unlink()
    again = fastmask(*arguments, "--json")
    assert again.exit_code == 0, again.exception
    assert json.loads(again.stdout) == json.loads(ended.stdout)  # of the whole corpus, in however many runs
    verdicts = {"complete": 2, "broken": 2, "cut off": 1, "error": 2}
    assert (json.loads(ended.stdout)["errors"], json.loads(ended.stdout)["verdicts"]) == (2, verdicts)
    shown = dict(re.findall(r"│ (\S.*?) +│ (\d+) +│", fastmask(*arguments).stdout))
    assert {name: int(shown[name]) for name in verdicts} == verdicts

    judge = ("check", *shards, "--schema", json.dumps(PERSON), "--tokenizer", folder, "--json")
    kept, skipped = (json.loads(fastmask(*judge, *options).stdout) for options in ((), ("--on-error", "skip")))
    assert (kept["verdicts"], kept["skipped"]) == (verdicts, 0)
    assert (skipped["verdicts"] | {"error": 2}, skipped["skipped"]) == (verdicts, 2)


def test_a_run_that_is_refused_leaves_the_masks_of_another(corpus, folder, tmp_path):
    out = tmp_path / "out"
    asked = ("annotate", corpus, "--tokenizer", folder, "--out", out, "--schema")
    assert fastmask(*asked, json.dumps(PERSON)).exit_code == 0
    before = (out / "masks.safetensors").read_bytes()
    refused = fastmask(*asked, '{"type": "boolean"}')
    assert isinstance(refused.exception, fm.CorpusError)
    assert "of another run: schema, with the vocabulary, was" in str(refused.exception)
    assert (out / "masks.safetensors").read_bytes() == before


def test_answers_of_an_annotated_corpus_are_judged_anew(corpus, folder, tmp_path):
    asked = ("--tokenizer", folder, "--schema", json.dumps(PERSON))
    fastmask("annotate", corpus, *asked, "--out", tmp_path / "out")
    shards = tmp_path / "out" / "*.parquet"
    judged = [
        json.loads(fastmask("check", shards, *asked, "--json", *column).stdout)["verdicts"]
        for column in ((), ("--answer", "answer"))
    ]
    assert judged[0] == judged[1]


def test_options_that_would_be_set_aside_are_refused(corpus, folder, tmp_path):
    asked = (corpus, "--tokenizer", folder, "--schema", json.dumps(PERSON))
    ray = ("annotate", *asked, "--out", tmp_path, "--engine", "ray")
    (tmp_path / "earlier.parquet").touch()
    for arguments, words in (
        (("check", *asked, "--start", 3, "--after", "<|endoftext|>"), "--start or --after, not both"),
        ((*ray, "--on-error", "skip"), "no --on-error"),
        ((*ray, "--shard-rows", 3), "no --shard-rows"),
        (ray, "has Parquet files already"),
    ):
        assert words in str(fastmask(*arguments).exception)


def test_a_schema_in_each_record(folder, tmp_path):
    rows = [
        {"answer": GOOD, "schema": PERSON},
        {"answer": "true", "schema": {"type": "boolean"}},
        {"answer": "3", "schema": {"type": "integer", "minimum": 2}},
        {"answer": "null", "schema": {"type": "boolean"}},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ended = fastmask("check", path, "--schema-column", "schema", "--tokenizer", folder, "--json")
    report = json.loads(ended.stdout)
    assert report["verdicts"] == {"complete": 2, "error": 1, "broken": 1}
    (refused,) = [finding["message"] for finding in report["findings"] if "/minimum" in finding["message"]]
    assert "pass --no-strict and" in refused
    assert any('got "n"' in finding["message"] for finding in report["findings"])
    out = tmp_path / "out"
    assert fastmask("annotate", path, "--schema-column", "schema", "--tokenizer", folder, "--out", out).exit_code == 0
    fingerprints = set(pq.read_table(next(out.glob("*.parquet")))["constraint"].to_pylist()) - {None}
    assert {file.stem for file in (out / "masks").iterdir()} == fingerprints
    assert len(fingerprints) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--schema", "{}", "--schema-column", "a"], "exactly one"),
        ([], "exactly one"),
        (["--schema", '{"type":"boolean"}', "--answer", "nowhere"], "nowhere"),
        (["--schema", '{"type":"boolean"}', "--tokens", "answer"], "answer"),
        (["--schema", '{"type":"boolean"}', "--after", "<nothing>"], "<nothing>"),
    ],
)
def test_a_mistake_is_named(arguments, words, corpus, folder):
    ended = fastmask("check", corpus, "--tokenizer", folder, *arguments)
    assert isinstance(ended.exception, fm.FastmaskError)
    assert words in str(ended.exception)


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.csv"])
@pytest.mark.parametrize("command", ["check", "annotate", "report"])
@pytest.mark.parametrize("answer", [(), ("--answer", "answer")])
def test_an_empty_corpus_is_named(command, name, answer, folder, tmp_path):
    path = tmp_path / name
    path.write_text("answer\n" if name.endswith("csv") else "")
    out = () if command == "check" else ("--out", tmp_path / "out")
    ended = fastmask(command, path, "--schema", '{"type":"boolean"}', "--tokenizer", folder, *out, *answer)
    assert isinstance(ended.exception, fm.InputError)
    assert "holds no record" in str(ended.exception)
    assert name in str(ended.exception)
    assert not (tmp_path / "out").is_file()


def test_a_column_that_is_missing_is_told_those_of_the_corpus(corpus, folder, tmp_path):
    """And not the one in which errors are kept, which is ours; and `annotate` names no records that it did not read."""
    for command in (("check",), ("annotate", "--out", tmp_path / "out"), ("report", "--out", tmp_path / "page.html")):
        asked = (corpus, "--schema", json.dumps(PERSON), "--tokenizer", folder, "--answer", "nowhere")
        ended = fastmask(command[0], *asked, *command[1:])
        assert isinstance(ended.exception, fm.InputError)
        assert str(ended.exception) == "the corpus has no column 'nowhere'; it has 'answer'"


def test_answers_that_are_objects(folder, tmp_path):
    """The message's remedy is an option, and it helps: also where the first records are text."""
    path, asked = tmp_path / "a.jsonl", ("--schema", json.dumps(PERSON), "--tokenizer", folder, "--json")
    person = json.loads(GOOD)
    path.write_text(json.dumps({"answer": person}), encoding="utf-8")
    ended = fastmask("check", path, *asked)
    assert isinstance(ended.exception, fm.InputTypeError)
    assert "--as-text 'answer' does reading JSONL" in as_options(str(ended.exception))
    path.write_text("".join(json.dumps({"answer": answer}) + "\n" for answer in (GOOD, person)), encoding="utf-8")
    assert json.loads(fastmask("check", path, *asked).stdout)["verdicts"] == {"complete": 1, "error": 1}
    assert json.loads(fastmask("check", path, *asked, "--as-text", "answer").stdout)["verdicts"] == {"complete": 2}


# ---- the report's other records ---------------------------------------------------------------------------------


def test_what_a_report_leaves_out_is_told(corpus, folder, tmp_path):
    asked = ("report", corpus, "--schema", json.dumps(PERSON), "--tokenizer", folder, "--out", tmp_path / "page.html")
    ended = fastmask(*asked)
    assert ended.exit_code == 0
    assert "5 records, 2 complete, 1 cut off, 2 broken" in ended.stdout
    assert re.search(r"\n2 left out: \S*answers\.jsonl:5 \(record 3\): null in column 'answer'", ended.stdout)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "2 left out" in page
    assert "null in column &#39;answer&#39;" in page
    facts = json.loads(fastmask(*asked, "--json").stdout)
    assert (facts["records"], facts["left_out"], len(facts["problems"])) == (5, 2, 2)
    assert facts["problems"][0] == [[str(corpus), 3, 5], "null in column 'answer', expected a text"]


def test_the_ids_of_another_tokenizer_are_no_report(folder, bpe, tmp_path):
    pq.write_table(pa.table({"input_ids": [[len(bpe.tokenizer) + 7]] * 3}), tmp_path / "a.parquet")
    asked = (tmp_path / "a.parquet", "--schema", json.dumps(PERSON), "--tokenizer", folder, "--out")
    ended = fastmask("report", *asked, tmp_path / "page.html")
    assert isinstance(ended.exception, fm.CorpusError)
    assert re.search(
        r"all 3 records are left out: .*a.parquet \(record 0\): token id .*another tokenizer", str(ended.exception)
    )
    assert not (tmp_path / "page.html").exists()
    with pytest.warns(UserWarning, match=r"none of the 3 records could be judged.*\(record 0\): token id"):
        assert fastmask("annotate", *asked, tmp_path / "out").exit_code == 0
