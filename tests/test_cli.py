"""The command line, run as a user runs it."""

import json
import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("typer")

PERSON = '{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}'


COMMANDS = ("inspect", "check", "annotate", "report")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")


def fastmask(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastmask", *map(str, arguments)],
        capture_output=True, encoding="utf-8", timeout=600, env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(bpe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    bpe.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def corpus(tmp_path):
    """One answer that keeps to the schema and one that breaks it."""
    pytest.importorskip("pyarrow")
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps({"answer": answer}) + "\n" for answer in ('{"name":"Ann"}', '{"name":3}')))
    return path


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


def assert_mistake(ended: subprocess.CompletedProcess[str], words: str) -> None:
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


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
    assert_mistake(fastmask("inspect", schema), words)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "s.json").write_text(PERSON, encoding="utf-8-sig")
    assert fastmask("inspect", tmp_path / "s.json").returncode == 0


@pytest.mark.parametrize("content", [None, "{", '{"x": 1}'])
def test_a_tokenizer_that_is_none_is_named(tmp_path, content):
    pytest.importorskip("transformers")
    folder = tmp_path / "none"
    if content is not None:
        folder.mkdir()
        (folder / "tokenizer.json").write_text(content)
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert_mistake(fastmask("inspect", PERSON, "--tokenizer", folder), "no tokenizer could be loaded from")


@pytest.mark.parametrize("content", [b"", b'{"type": ', b"\xff{}"])
def test_a_schema_s_file_that_is_no_json_is_named(tmp_path, content):
    file = tmp_path / "half.json"
    file.write_bytes(content)
    assert_mistake(fastmask("inspect", file), f"the schema in {file} is not JSON: ")


def test_a_place_that_cannot_be_written_is_named(corpus, tokenizer, tmp_path):
    file = tmp_path / "file"
    file.touch()
    asked = (corpus, "--schema", PERSON, "--tokenizer", tokenizer, "--out")
    assert_mistake(fastmask("annotate", *asked, file), "file cannot be made a folder")
    assert_mistake(fastmask("report", *asked, file / "page.html"), "page.html cannot be written")
    assert_mistake(fastmask("annotate", *asked, ""), "--out is empty")


def test_a_report_of_before_stays_where_the_corpus_breaks_off(corpus, tokenizer, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("before")
    corpus.write_text('{"answer": "{}"}\nno JSON')
    asked = (corpus, "--schema", PERSON, "--tokenizer", tokenizer, "--out", page)
    assert_mistake(fastmask("report", *asked, "--on-error", "raise"), "answers.jsonl:2 (record 1)")
    assert page.read_text() == "before"
    assert fastmask("report", *asked).returncode == 0
    assert page.read_text() != "before"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--on-error", "perhaps"), "skip"),
        (("--limit", "-1"), "0"),
        (("--max-length", "many"), "integer"),
        (("--lmit", "3"), "--limit"),
    ],
)
def test_a_wrong_option_is_named_with_what_it_may_be(option, words, corpus, tokenizer):
    ended = fastmask("check", corpus, "--schema", PERSON, "--tokenizer", tokenizer, *option)
    assert ended.returncode == 2
    assert option[0] in ended.stderr
    assert words in ended.stderr.replace(option[0], "")


def test_what_is_not_enforced_is_told_in_a_warning():
    ended = fastmask("inspect", '{"type": "integer", "minimum": 3}', "--no-strict", "--quiet")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr.startswith("warning: ")
    assert "/minimum" in ended.stderr
    assert ".py" not in ended.stderr


def test_what_is_not_installed_is_named():
    code = "import sys; sys.modules['typer'] = None; from fastmask.__main__ import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)
    assert_mistake(ended, "pip install '.[cli]'")


def test_nothing_is_said_of_torch_where_it_is_not_installed(tokenizer):
    """The extra `cli` brings transformers without it."""
    code = """import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "torch" else find(name, *rest)
from fastmask.__main__ import main
main()"""
    asked = [sys.executable, "-c", code, "inspect", PERSON, "--tokenizer", str(tokenizer), "--quiet"]
    ended = subprocess.run(asked, capture_output=True, encoding="utf-8", timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


# ---- what is said, and to whom ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
def test_help_shows_an_example_and_the_exit_codes(command):
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", fastmask(*command, "--help").stdout).split())
    assert f"Example: fastmask {command[0] if command else 'check'}" in words
    assert "Exit codes: 0 done; 1" in words


def test_the_version():
    import fastmask as fm

    assert fastmask("--version").stdout == f"{fm.__version__}\n"


def asked(command, corpus, tokenizer, tmp_path):
    if command == "inspect":
        return command, PERSON
    given = (command, corpus, "--schema", PERSON, "--tokenizer", tokenizer)
    out = {"check": (), "annotate": ("--out", tmp_path / "out"), "report": ("--out", tmp_path / "page.html")}
    return *given, *out[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_text_json_or_nothing(command, corpus, tokenizer, tmp_path):
    """Text, one JSON object, or nothing, and the same exit code; never an escape where no terminal is."""
    arguments = asked(command, corpus, tokenizer, tmp_path)
    code = 1 if command == "check" else 0
    shown, told = fastmask(*arguments), fastmask(*arguments, "--json", "--quiet")
    silent = fastmask(*arguments, "--quiet")
    assert [ended.returncode for ended in (shown, told, silent)] == [code] * 3, shown.stderr
    assert shown.stdout
    assert "\x1b" not in shown.stdout + shown.stderr
    assert (silent.stdout, silent.stderr) == ("", "")
    facts = json.loads(told.stdout)
    assert told.stdout.count("\n") == 1
    counts = {"inspect": "bytes", "check": "records", "annotate": "read", "report": "records"}
    assert facts[counts[command]] == (2 if command != "inspect" else facts["bytes"])


@posix
def test_colour_is_for_terminals_that_want_it():
    import pty

    def error_on_a_terminal(**environment: str) -> str:
        ours, theirs = pty.openpty()
        plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        subprocess.run(
            [sys.executable, "-m", "fastmask", "inspect", "nowhere"],
            stderr=theirs, stdin=theirs, stdout=subprocess.DEVNULL, timeout=120,
            env=plain | {"TERM": "xterm-256color"} | environment,
        )  # fmt: skip
        os.close(theirs)
        said = os.read(ours, 10_000).decode()
        os.close(ours)
        return said

    red = re.compile(r"\x1b\[[0-9;]*31")
    assert red.search(error_on_a_terminal())
    assert not red.search(error_on_a_terminal(NO_COLOR="1"))


@posix
@pytest.mark.parametrize("options", [(), ("--json",), ("--help",)])
def test_a_reader_that_leaves_early_is_no_error(options):
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "fastmask", "inspect", PERSON, *options],
        stdout=write, stderr=subprocess.PIPE, encoding="utf-8", timeout=120,
    )  # fmt: skip
    os.close(write)
    assert ended.stderr == ""
    assert ended.returncode == 1


def test_what_an_encoding_lacks_is_escaped(tokenizer, tmp_path):
    pytest.importorskip("pyarrow")
    corpus = tmp_path / "answers.jsonl"
    corpus.write_text(json.dumps({"answer": '{"name":"Zoë"'}))
    ended = fastmask("check", corpus, "--schema", PERSON, "--tokenizer", tokenizer, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert r'"Zo\xeb"' in ended.stdout


@posix
def test_ctrl_c_ends_it_without_a_word(tmp_path):
    slow = """import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever began the tests may have had it ignored
os.kill(os.getpid(), signal.SIGINT)
"""
    (tmp_path / "slow.py").write_text(slow)
    ended = fastmask("inspect", f"{tmp_path / 'slow.py'}:Model")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_commands_and_values_are_completed():
    def completed(words: str, number: int) -> list[str]:
        asked = {"_FASTMASK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        return fastmask(**asked).stdout.split()

    assert completed("fastmask in", 1) == ["inspect"]
    assert completed("fastmask check a.jsonl --on-error ", 4) == ["raise", "skip", "keep"]


# ---- messages in the words of the command line -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "here"),
    [
        ("give format= one of jsonl", "give --format one of jsonl"),
        ("format='json' is unknown", "--format 'json' is unknown"),
        ("or choose on_error='skip', as for", "or choose --on-error 'skip', as for"),
        ("a larger sample=, or columns={'a b': pa.string()} for", "a larger --sample, or --as-text 'a b' for"),
        ("or pass strict=False and", "or pass --no-strict and"),
        ("size=50,257 is too small", "--size 50,257 is too small"),
        ("the limit is 5; raise max_states, or", "the limit is 5; raise max_states (in Python), or"),
        ("or pass eos_token_id=… (an id", "or pass eos_token_id=… (in Python) (an id"),
        ("data/format=old/size=3/0.data cannot be read", "data/format=old/size=3/0.data cannot be read"),
        ("the file size is 3", "the file size is 3"),
    ],
)
def test_a_message_names_options_in_place_of_arguments(said, here):
    from fastmask.cli.wording import as_options

    assert as_options(said) == here


def test_what_messages_call_options_are_options():
    import typer

    from fastmask.cli import app, wording

    options = {option for parameter in typer.main.get_command(app).commands["check"].params
               for option in (*parameter.opts, *parameter.secondary_opts)}  # fmt: skip
    assert {f"--{name.replace('_', '-')}" for name in wording._OPTIONS} <= options
    assert {"--as-text", "--no-strict"} <= options


@pytest.mark.parametrize(
    ("rows", "arguments", "words"),
    [
        ('{"answer": "{}"}', ("--format", "json"), "--format 'json' is unknown"),
        ('{"answer": "{}", "error": ""}', (), "or choose --on-error 'skip'"),
        ('{"answer": "{}"}', ("--size", "3"), "--size 3 is too small"),
        ('{"answer": "{}"}', ("--text", "answer", "--prompt", "answer"), "prompt must go with an answer column"),
    ],
)
def test_a_mistake_in_an_option_names_the_option(rows, arguments, words, tokenizer, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.jsonl").write_text(rows)
    assert_mistake(
        fastmask("check", tmp_path / "a.jsonl", "--schema", PERSON, "--tokenizer", tokenizer, *arguments), words
    )


def test_a_format_that_cannot_be_told_names_the_option(corpus, tokenizer):
    corpus.rename(corpus.with_suffix(".data"))
    asked = corpus.with_suffix(".data"), "--schema", PERSON, "--tokenizer", tokenizer
    assert_mistake(fastmask("check", *asked), "give --format one of jsonl,")
    assert fastmask("check", *asked, "--format", "jsonl").returncode == 1


def test_types_that_the_first_records_do_not_tell(tokenizer, tmp_path):
    """The message's two remedies are options, and both help."""
    pytest.importorskip("pyarrow")
    (tmp_path / "a.jsonl").write_text(
        '{"answer": "{\\"name\\":\\"a\\"}", "n": 1}\n{"answer": "{\\"name\\":\\"a\\"}", "n": 1.5}\n'
    )
    asked = ("check", tmp_path / "a.jsonl", "--schema", PERSON, "--tokenizer", tokenizer, "--json")
    ended = fastmask(*asked, "--sample", "1")
    assert ended.returncode == 1
    assert "give a larger --sample, or --as-text 'n'" in json.loads(ended.stdout)["findings"][0]["message"]
    assert fastmask(*asked, "--sample", "2").returncode == 0
    assert fastmask(*asked, "--sample", "1", "--as-text", "n").returncode == 0


def test_a_corpus_of_which_nothing_can_be_read_says_why(tokenizer, tmp_path):
    pytest.importorskip("pyarrow")
    asked = ("check", tmp_path / "a.jsonl", "--schema", PERSON, "--tokenizer", tokenizer)
    (tmp_path / "a.jsonl").write_bytes('{"answer": ""}'.encode("utf-16"))
    assert_mistake(fastmask(*asked), "a.jsonl:1 (record 0): expected UTF-8, found byte(s) ff")
    (tmp_path / "a.jsonl").write_bytes(b"\n \n")
    assert_mistake(fastmask(*asked), "the corpus holds no record")


@pytest.fixture(scope="module")
def annotated(tokenizer, tmp_path_factory):
    """What `fastmask annotate` was asked, with a folder in which it has run."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("annotated")
    (folder / "answers.jsonl").write_text('{"answer": "{\\"name\\":\\"Ann\\"}"}\n')
    options = {"--schema": PERSON, "--tokenizer": tokenizer, "--out": folder / "out", "--answer": "answer"}
    assert fastmask("annotate", *given(folder / "answers.jsonl", options)).returncode == 0
    return folder / "answers.jsonl", options


def given(corpus, options):
    return corpus, *(each for option in options.items() if option[1] is not None for each in option)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"--schema": '{"type": "null"}'}, r'run: schema, with the vocabulary, was "\w{12}…", is now "\w{12}…"\. Give'),
        ({"--size": "1000"}, r'run: vocabulary was "\w{12}…"'),
        (
            {"--answer": None, "--text": "answer"},
            r'run: columns\.answer was "answer", is now not there; columns\.text ',
        ),
        ({"--answer": None, "--text": "answer", "--start": "1"}, r"run: .*columns\.start was 0, is now 1"),
        ({"--max-length": "9"}, r"run: max length was null, is now 9\. Give another folder"),
        ({"--shard-rows": "1"}, r"run: shard rows was 100000, is now 1\."),
        ({"--on-error": "skip"}, r'run: on error was "keep", is now "skip"'),
    ],
)
def test_a_run_that_goes_on_otherwise_is_told_what_differs(options, words, annotated):
    from typer.testing import CliRunner

    from fastmask.cli import app
    from fastmask.errors import CorpusError

    corpus, before = annotated
    masks = (before["--out"] / "masks.safetensors").read_bytes()
    ended = CliRunner().invoke(app, ["annotate", *map(str, given(corpus, before | options))])
    assert isinstance(ended.exception, CorpusError)
    assert re.search(rf"part-00000.parquet is of another {words}", str(ended.exception))
    assert (before["--out"] / "masks.safetensors").read_bytes() == masks


def test_a_run_that_is_done_is_read_again(annotated):
    corpus, options = annotated
    ended = fastmask("annotate", *given(corpus, options), "--json")
    assert json.loads(ended.stdout)["shards"] == 1
