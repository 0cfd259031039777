"""The examples of every `--help`, run as they stand, on files that stand in for a reader's own."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pytest

typer = pytest.importorskip("typer")
transformers = pytest.importorskip("transformers")
pytest.importorskip("pyarrow")

from typer.testing import CliRunner  # noqa: E402

from fastmask.cli import app  # noqa: E402

GROUP = typer.main.get_command(app)
HELP = {"fastmask": GROUP.help, **{f"fastmask {name}": command.help for name, command in GROUP.commands.items()}}
EXAMPLES = {
    name: re.findall(r"fastmask .*(?:\n(?!\n).*)*", text.partition("Example: ")[2]) for name, text in HELP.items()
}

PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
REPLIES = ('{"name": "Ada"}', '{"name": 3}')


@pytest.fixture
def folder(tmp_path, monkeypatch, bpe):
    """The files that the examples name, one answer in two as the schema wants it."""
    rows = [{"question": "Who?", "reply": reply} for reply in REPLIES]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "person.schema.json").write_text(json.dumps(PERSON))
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda name: bpe.tokenizer)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_help_has_an_example():
    assert all(EXAMPLES.values()), EXAMPLES


@pytest.mark.parametrize("example", [" ".join(line.split()) for lines in EXAMPLES.values() for line in lines])
def test_an_example_runs(example, folder):
    program, *arguments = shlex.split(example)
    if "--svg" in arguments and not shutil.which("dot"):
        pytest.skip("needs Graphviz")
    before = set(folder.iterdir())
    ended = CliRunner().invoke(app, arguments)
    assert program == "fastmask"
    assert ended.exit_code == (1 if arguments[0] == "check" else 0), ended.exception
    written = {arguments[at + 1] for at, word in enumerate(arguments) if word in ("--out", "--svg")}
    assert {path.name for path in set(folder.iterdir()) - before} == written
