"""The command line, run as a user runs it."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("typer")

PERSON = '{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}'


def fastmask(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fastmask", *arguments], capture_output=True, text=True, timeout=600)


def test_inspect_tells_what_a_schema_compiles_to(tmp_path):
    file = tmp_path / "person.json"
    file.write_text(PERSON)
    facts = [json.loads(fastmask("inspect", schema, "--json").stdout) for schema in (str(file), PERSON)]
    assert facts[0]["fingerprint"] == facts[1]["fingerprint"]
    assert facts[0]["states"] > 10
    assert 1 < facts[0]["masks"] <= facts[0]["states"]
    assert facts[0]["bytes"] > 0


def test_a_model_in_a_file_is_a_schema(tmp_path):
    pytest.importorskip("pydantic")
    file, same = tmp_path / "person.py", tmp_path / "person.json"
    file.write_text(
        "from __future__ import annotations\n"  # names are looked up in the module when the schema is made
        "from pydantic import BaseModel\n"
        "class Person(BaseModel):\n    name: str\n    likes: list[Thing]\n"
        "class Thing(BaseModel):\n    name: str\n"
    )
    thing = json.loads(PERSON)
    properties = {"name": {"type": "string"}, "likes": {"type": "array", "items": thing}}
    same.write_text(json.dumps({"type": "object", "properties": properties, "required": ["name", "likes"]}))
    facts = [json.loads(fastmask("inspect", schema, "--json").stdout) for schema in (f"{file}:Person", str(same))]
    assert facts[0]["fingerprint"] == facts[1]["fingerprint"]


def test_inspect_shows_the_regex_and_draws(tmp_path):
    shown = fastmask("inspect", PERSON, "--dot", str(tmp_path / "person.dot")).stdout
    told = json.loads(fastmask("inspect", PERSON, "--json", "--dot", str(tmp_path / "same.dot")).stdout)
    assert r'"name"[ ]?:' in told["regex"]
    assert told["regex"][:15] in shown
    assert r"\\[" in shown, "markup would eat a backslash"
    drawing = (tmp_path / "person.dot").read_text()
    assert drawing == (tmp_path / "same.dot").read_text()
    assert "&quot;name&quot;" in drawing


def test_a_drawing_that_cannot_be_written_is_named(tmp_path):
    ended = fastmask("inspect", PERSON, "--dot", str(tmp_path / "nowhere" / "person.dot"))
    assert ended.returncode == 2
    assert "person.dot cannot be written" in ended.stderr


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("nowhere.json", "nowhere.json"),
        ("no_such_module:Name", "no_such_module"),
        ('{"type": "unheard-of"}', "unheard-of"),
        ('{"type": "integer", "minimum": 3}', "/minimum"),
    ],
)
def test_a_mistake_ends_in_one_line(schema, words):
    ended = fastmask("inspect", schema)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
