"""The examples, run as a user runs them; every answer is judged by json, jsonschema and re, not by fastmask."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("typer")
jsonschema = pytest.importorskip("jsonschema")

import fastmask as fm  # noqa: E402
from examples import choose, extract, jump_ahead, models, pattern, schema_per_row, think  # noqa: E402
from fastmask.hf import ConstraintLogitsProcessor  # noqa: E402

TEMPLATE = "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def tiny():
    return models.load(None)


@pytest.fixture(autouse=True)
def little_room(monkeypatch):
    """So that nearly every answer has to be steered to its end."""
    for example in (extract, think, schema_per_row):
        monkeypatch.setattr(example, "MAX_NEW_TOKENS", 80)


@pytest.fixture(params=range(3))
def draw(request):
    """Other answers each time: the examples themselves are seeded where they load."""
    torch.manual_seed(request.param)


@pytest.fixture
def said(monkeypatch):
    """What the model said, to the letter, before an example made an object of it."""
    texts, answers = [], ConstraintLogitsProcessor.answers

    def recorded(processor, sequences):
        texts.extend(answers(processor, sequences))
        return texts[:]

    monkeypatch.setattr(ConstraintLogitsProcessor, "answers", recorded)
    return texts


def assert_keeps(answer: str, model) -> None:
    jsonschema.validate(json.loads(answer), model.model_json_schema())


@pytest.mark.usefixtures("draw")
def test_extract(tiny, said):
    booking = extract.extract(extract.EMAIL, *tiny)
    assert_keeps(*said, extract.Booking)
    assert booking.model_dump() == json.loads(*said)


@pytest.mark.usefixtures("draw")
def test_choose(tiny):
    chosen = choose.choose(choose.MESSAGES, *tiny)
    assert len(chosen) == len(choose.MESSAGES)
    assert set(chosen) <= set(choose.LABELS)


@pytest.mark.usefixtures("draw")
def test_pattern(tiny):
    date = pattern.date_of(pattern.QUESTION, *tiny)
    year, month, day = map(int, re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})", date, re.ASCII).groups())
    assert year >= 0
    assert 1 <= month <= 12
    assert 1 <= day <= 31


@pytest.mark.usefixtures("draw")
def test_think_behind_a_text(tiny):
    generated = think.think("2 + 2?", "<answer>", *tiny)
    thought, trigger, answer = tiny[1].decode(generated, skip_special_tokens=True).partition("<answer>")
    assert thought
    assert trigger
    assert_keeps(answer, think.Prices)


@pytest.mark.usefixtures("draw")
def test_think_behind_a_token(tiny):
    end = tiny[1].get_vocab()["</think>"]
    generated = think.think("2 + 2?", fm.after(end), *tiny)
    assert_keeps(tiny[1].decode(generated[generated.index(end) + 1 :], skip_special_tokens=True), think.Prices)


@pytest.mark.usefixtures("draw")
def test_schema_per_row(tiny, said):
    schema_per_row.ask(schema_per_row.REQUESTS, *tiny)
    person, city, free = said
    assert_keeps(person, schema_per_row.Person)
    assert_keeps(city, schema_per_row.City)
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(free)


@pytest.mark.usefixtures("draw")
def test_jump_ahead(tiny):
    found = jump_ahead.file_ticket(jump_ahead.MESSAGE, *tiny)
    assert_keeps(found.answer, jump_ahead.Ticket)
    assert found.tokens_saved > found.model_calls  # most of a ticket are its keys


@pytest.fixture(scope="module", params=["texts", "chats", "no padding token"])
def folder(request, tiny, tmp_path_factory):
    """A model as others come: saved, of chats or not, with a padding token or not."""
    model, tokenizer = models.tiny()
    tokenizer.chat_template = TEMPLATE if request.param == "chats" else None
    if request.param == "no padding token":
        tokenizer.pad_token = model.generation_config.pad_token_id = None
    where = tmp_path_factory.mktemp("model")
    model.save_pretrained(where)
    tokenizer.save_pretrained(where)
    return str(where)


PRINTED = {
    extract: r'\{\n  "name": ".*",\n  "guests": -?\d+,\n  "day": "\w+day",\n  "wishes": \[.*\]\n\}\n',
    choose: r"((praise|complaint|question|something else) +[^\n]+\n){3}",
    pattern: r"\d{4}-\d\d-\d\d\n",
    think: r"(thought: [^\n]+\nanswer:  Prices\(bat=-?\d+, ball=-?\d+\)\n\n){2}",
    schema_per_row: r"Person\(name=[^\n]+\nCity\(name=[^\n]+\n[^\n]+\n",
    jump_ahead: r'\{\n  "department": "\w+",\n  "urgency": "\w+",\n  "answer_expected": (true|false)\n\}\n',
}


@pytest.mark.parametrize("example", PRINTED, ids=lambda example: example.__name__)
def test_by_name(example, folder, capsys):
    """The real loading path, from the command to what is printed."""
    example.main(folder)
    printed = capsys.readouterr()
    assert re.fullmatch(PRINTED[example], printed.out, re.DOTALL), printed.out
    assert "nonsense" not in printed.err


def test_prompts(folder):
    """A chat's turns by the model's template, bare texts elsewhere; the shorter one is padded on the left."""
    model, tokenizer = models.load(folder)
    inputs = models.prompts(["Yes?", "And on Monday evening?"], model, tokenizer)
    shape = "<user>{}<assistant>" if tokenizer.chat_template else "{}\n"
    texts = tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
    assert texts == [shape.format("Yes?"), shape.format("And on Monday evening?")]
    assert inputs["attention_mask"][0].tolist() == sorted(inputs["attention_mask"][0].tolist())
    assert inputs["attention_mask"][0, 0] == 0
    assert inputs["attention_mask"][1].all()


def test_as_a_program():
    ended = subprocess.run(
        [sys.executable, "-m", "examples.extract"],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, encoding="utf-8", timeout=600,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert_keeps(ended.stdout, extract.Booking)
    assert "nonsense" in ended.stderr
