"""``fastmask check`` and ``fastmask annotate``: corpora from the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any, cast, get_args

import pyarrow as pa
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import fastmask
from fastmask.cli.loading import load_schema, load_tokenizer
from fastmask.constraint import Constraint
from fastmask.corpus.annotator import ADDED, Annotator
from fastmask.corpus.check import CorpusCheck, check_corpus
from fastmask.corpus.columns import Columns
from fastmask.corpus.constraints import Constraints
from fastmask.corpus.mask_file import write_masks
from fastmask.corpus.records import OnError, RecordReader, read_records
from fastmask.corpus.shards import write_shards
from fastmask.corpus.summary import Summary
from fastmask.errors import InputError
from fastmask.rows import after
from fastmask.vocabulary import Vocabulary

__all__ = ["annotate", "check"]

Corpus = Annotated[list[str], typer.Argument(help="files, folders, globs or fsspec URLs")]
Schema = Annotated[str, typer.Option(help="a JSON-schema file, its text, or module:Name of a pydantic model")]
SchemaColumn = Annotated[str, typer.Option(help="instead: the column with each record's own schema, as JSON")]
Tokenizer = Annotated[str, typer.Option(help="a Hugging Face tokenizer, by name or folder")]
Size = Annotated[int, typer.Option(help="width of the model's logits; 0: that of the tokenizer")]
Tokens = Annotated[str, typer.Option(help="the column of token ids")]
Text = Annotated[str, typer.Option(help="the column of whole texts, prompt and answer in one")]
Answer = Annotated[str, typer.Option(help="the column of answers, tokenised by themselves")]
Prompt = Annotated[str, typer.Option(help="the column of prompts, with --answer")]
Start = Annotated[str, typer.Option(help="first constrained token, with --tokens or --text: index or column")]
After = Annotated[str, typer.Option("--after", help="or: behind the first of these tokens, such as <|endoftext|>")]
Format = Annotated[str, typer.Option("--format", help="jsonl, csv, text, conllu, parquet, arrow or dataset")]
Broken = Annotated[str, typer.Option("--on-error", help="what becomes of broken records: raise, skip or keep")]
MaxLength = Annotated[int, typer.Option(help="tokens that a record may have; 0: any number")]
Strict = Annotated[bool, typer.Option(help="refuse a schema of which a part would not be enforced")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")]

_GUESSED = {"tokens": "input_ids", "answer": "answer", "text": "text"}  # columns that need not be named


def check(
    corpus: Corpus,
    tokenizer: Tokenizer,
    schema: Schema = "",
    schema_column: SchemaColumn = "",
    tokens: Tokens = "",
    text: Text = "",
    answer: Answer = "",
    prompt: Prompt = "",
    start: Start = "",
    after_token: After = "",
    size: Size = 0,
    file_format: Format = "",
    on_error: Broken = "keep",
    max_length: MaxLength = 0,
    strict: Strict = True,
    limit: Annotated[int, typer.Option(help="findings that are listed")] = 20,
    canonical: Annotated[bool, typer.Option(help="tokenise answers anew, count those spelled otherwise")] = False,
    as_json: AsJson = False,
) -> None:
    """Which records of a corpus break the schema: where, what stood there, and what was expected.

    Exit code 0: every record is complete; 1: some are broken, cut off or cannot be judged; 2: a mistake of yours.

    Example: fastmask check answers.jsonl --schema person.schema.json --tokenizer gpt2 --answer reply
    """
    loaded = load_tokenizer(tokenizer)
    records = _records(corpus, file_format, on_error, schema_column)
    columns = _columns(records, loaded, tokens, text, answer, prompt, start, after_token, schema_column)
    constraints = _constraints(schema, schema_column, Vocabulary.from_tokenizer(loaded, size or None), strict)
    annotator = Annotator(constraints, columns, loaded, max_length or None)
    found = check_corpus(records, annotator, limit=limit, tokenizer=loaded if canonical else None)
    typer.echo(json.dumps(found.to_json(), ensure_ascii=False)) if as_json else _print_check(found, canonical)
    raise typer.Exit(0 if found.passed else 1)


def annotate(
    corpus: Corpus,
    tokenizer: Tokenizer,
    out: Annotated[str, typer.Option(help="a folder, or an fsspec URL of one, for shards and masks")],
    schema: Schema = "",
    schema_column: SchemaColumn = "",
    tokens: Tokens = "",
    text: Text = "",
    answer: Answer = "",
    prompt: Prompt = "",
    start: Start = "",
    after_token: After = "",
    size: Size = 0,
    file_format: Format = "",
    on_error: Broken = "keep",
    max_length: MaxLength = 0,
    strict: Strict = True,
    shard_rows: Annotated[int, typer.Option(help="records of a shard")] = 100_000,
    as_json: AsJson = False,
) -> None:
    """The corpus with token ids, states and verdicts, as Parquet shards, and its masks in one file beside them.

    Started again after a kill, it goes on where it was. A mask is rows[row_of[state]] of masks.safetensors.

    Example: fastmask annotate answers.jsonl --schema person.schema.json --tokenizer gpt2 --out annotated
    """
    loaded = load_tokenizer(tokenizer)
    records = _records(corpus, file_format, on_error, schema_column)
    columns = _columns(records, loaded, tokens, text, answer, prompt, start, after_token, schema_column)
    vocabulary = Vocabulary.from_tokenizer(loaded, size or None)

    def keep_masks(con: Constraint) -> None:
        write_masks(con, f"{out}/masks/{con.fingerprint}.safetensors", auto_mkdir=True)

    constraints = _constraints(schema, schema_column, vocabulary, strict, keep_masks)
    annotator = Annotator(constraints, columns, loaded, max_length or None)
    if isinstance(constraints, Constraint):
        write_masks(constraints, f"{out}/masks.safetensors", auto_mkdir=True)
    settings = _fingerprint(fastmask.__version__, constraints, columns, vocabulary, max_length, strict)
    summary = write_shards(
        records, annotator, out, shard_rows=shard_rows, fingerprint=settings, error="error", progress=None
    )
    typer.echo(json.dumps(summary.to_json(), ensure_ascii=False)) if as_json else _print_summary(summary)


# ---- what was asked for ---------------------------------------------------------------------------------


def _records(corpus: list[str], file_format: str, on_error: str, schema_column: str) -> RecordReader:
    if on_error not in get_args(OnError):
        raise InputError(f"--on-error must be one of {', '.join(get_args(OnError))}, got {on_error!r}")
    # A schema's own shape varies from record to record, so it is read as the JSON text that it is.
    types = {schema_column: pa.string()} if schema_column else None
    return read_records(corpus, format=file_format or None, on_error=cast("OnError", on_error), columns=types)


def _columns(
    records: RecordReader, tokenizer: Any, tokens: str, text: str, answer: str, prompt: str, start: str,
    after_token: str, schema_column: str,
) -> Columns:  # fmt: skip
    given: dict[str, Any] = {
        name: column for name, column in (("tokens", tokens), ("text", text), ("answer", answer)) if column
    }
    names = records.schema.names
    annotated = set(ADDED) <= set(names)  # what annotate wrote, to be judged anew
    if not given:
        guess = next((kind for kind, name in _GUESSED.items() if name in names), None)
        if guess is None:
            raise InputError(f"say --tokens, --text or --answer: which column of {', '.join(names)} is to be judged?")
        given = {guess: _GUESSED[guess]}
    if annotated and not start and not after_token:
        start = "start"
    return Columns(
        **given,
        prompt=prompt or None,
        start=after(_token_id(after_token, tokenizer)) if after_token else _index_or_name(start),
        schema=schema_column or None,
        error="error" if records.on_error == "keep" or annotated else None,
    )


def _index_or_name(start: str) -> int | str:
    return start if start and not start.isdecimal() else int(start or 0)


def _token_id(token: str, tokenizer: Any) -> int:
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise InputError(f"--after: the tokenizer has no token {token!r}")
    return int(found)


def _constraints(
    schema: str,
    schema_column: str,
    vocabulary: Vocabulary,
    strict: bool,
    compiled: Callable[[Constraint], None] | None = None,
) -> Constraint | Constraints:
    if bool(schema) == bool(schema_column):
        raise InputError("say --schema for all records or --schema-column for one in each: exactly one of them")
    if schema_column:
        return Constraints(vocabulary, compiled=compiled, strict=strict)
    return Constraint.from_schema(load_schema(schema), vocabulary, strict=strict)


def _fingerprint(version: str, constraints: Constraint | Constraints, *settings: Any) -> str:
    """Of all that decides about what is written; ``vocabulary`` by its own."""
    one = constraints.fingerprint if isinstance(constraints, Constraint) else "a schema for each record"
    told = [setting.fingerprint if isinstance(setting, Vocabulary) else repr(setting) for setting in settings]
    return hashlib.sha256(json.dumps([version, one, *told]).encode()).hexdigest()


# ---- what came of it ------------------------------------------------------------------------------------


def _print_check(found: CorpusCheck, canonical: bool) -> None:
    console = Console()
    for finding in found.findings:
        console.print(f"[bold]{escape(finding.place)}[/] {escape(_told(finding))}", highlight=False, soft_wrap=True)
    table = Table(show_header=False)
    table.add_row("records", f"{found.records:,}")
    table.add_row("tokens", f"{found.tokens:,}")
    for verdict, count in sorted(found.verdicts.items()):
        table.add_row(verdict, f"{count:,}")
    if found.skipped:
        table.add_row("skipped", f"{found.skipped:,}")
    if canonical:
        table.add_row("spelled otherwise", f"{found.respelled:,}")
    console.print(table)


def _told(finding: Any) -> str:
    where = "" if finding.token is None else f"token {finding.token}, character {finding.character}: "
    return f"{where}{finding.message}{f'  … {finding.before!r}' if finding.before else ''}"


def _print_summary(summary: Summary) -> None:
    table = Table(show_header=False)
    for name in ("read", "written", "skipped", "tokens", "shards"):
        table.add_row(name, f"{getattr(summary, name):,}")
    table.add_row("could not be read or judged", f"{summary.broken:,}")
    console = Console()
    for problem in summary.problems:
        console.print(escape(str(problem)), highlight=False, soft_wrap=True)
    console.print(table)
