"""What a user asks of a corpus: options that several commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import pyarrow as pa
import typer

from fastmask.cli.loading import load_schema
from fastmask.constraint import Constraint
from fastmask.corpus.annotator import Annotator
from fastmask.corpus.columns import ADDED, Columns
from fastmask.corpus.constraints import Constraints
from fastmask.corpus.records import OnError, RecordReader, read_records
from fastmask.errors import InputError
from fastmask.rows import after
from fastmask.vocabulary import Vocabulary

Corpus = Annotated[list[str], typer.Argument(help="files, folders, globs or fsspec URLs")]
Schema = Annotated[
    str, typer.Option(help="a JSON schema's file or text, or a pydantic model: module:Name or file.py:Name")
]
SchemaColumn = Annotated[str, typer.Option(help="instead: the column with each record's own schema, as JSON")]
Tokenizer = Annotated[str, typer.Option(help="a Hugging Face tokenizer, by name or folder")]
Size = Annotated[int, typer.Option(min=0, help="width of the model's logits; 0: that of the tokenizer")]
Tokens = Annotated[str, typer.Option(help="the column of token ids")]
Text = Annotated[str, typer.Option(help="the column of whole texts, prompt and answer in one")]
Answer = Annotated[str, typer.Option(help="the column of answers, tokenised by themselves")]
Prompt = Annotated[str, typer.Option(help="the column of prompts, with --answer")]
Start = Annotated[str, typer.Option(help="first constrained token, with --tokens or --text: index or column")]
After = Annotated[str, typer.Option("--after", help="or: behind the first of these tokens, such as <|endoftext|>")]
Format = Annotated[str, typer.Option("--format", help="jsonl, csv, text, conllu, parquet, arrow or dataset")]
Sample = Annotated[int, typer.Option(min=1, help="JSON records that are looked at to settle the columns' types")]
AsText = Annotated[
    list[str] | None, typer.Option(help="a column that is kept as JSON text, so that its shape may vary; repeatable")
]
Broken = Annotated[
    OnError, typer.Option("--on-error", help="a broken record: raise ends the run, skip omits it, keep tells why")
]
MaxLength = Annotated[int, typer.Option(min=0, help="tokens that a record may have; 0: any number")]
Strict = Annotated[bool, typer.Option(help="refuse a schema of which a part would not be enforced")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object on stdout instead of text")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="nothing on the terminal but errors, warnings and what --json asks for")
]

_GUESSED = {"tokens": "input_ids", "answer": "answer", "text": "text"}  # columns that need not be named


def read_asked(
    corpus: list[str], file_format: str, on_error: OnError, sample: int, as_text: list[str] | None, schema_column: str
) -> RecordReader:
    # A schema's own shape varies from record to record, so it is read as the JSON text that it is.
    texts = [*(as_text or ()), *([schema_column] if schema_column else ())]
    columns = dict.fromkeys(texts, pa.string())
    return read_records(corpus, format=file_format or None, on_error=on_error, sample=sample, columns=columns)


def columns_asked(
    records: RecordReader, tokenizer: Any, tokens: str, text: str, answer: str, prompt: str, start: str,
    after_token: str, schema_column: str,
) -> Columns:  # fmt: skip
    given: dict[str, Any] = {
        name: column for name, column in (("tokens", tokens), ("text", text), ("answer", answer)) if column
    }
    names = records.schema.names
    annotated = set(ADDED) <= set(names)  # what annotate wrote, to be judged anew
    if start and after_token:
        raise InputError("say --start or --after, not both: each tells where the constraint begins")
    own = [name for name in names if name != "error" or annotated or records.on_error != "keep"]
    if not own:
        for _ in records:  # raises where there are records, but none that can be read
            break
        require_records(0, records)
    if not given:
        guess = next((kind for kind, name in _GUESSED.items() if name in names), None)
        if guess is None:
            raise InputError(f"say --tokens, --text or --answer: which column of {', '.join(own)} is to be judged?")
        given = {guess: _GUESSED[guess]}
    if annotated and "answer" not in given and not start and not after_token:
        start = "start"
    return Columns(
        **given,
        prompt=prompt or None,
        start=after(_token_id(after_token, tokenizer)) if after_token else _index_or_name(start),
        schema=schema_column or None,
        error="error" if records.on_error == "keep" or annotated else None,
    )


def annotator_asked(
    records: RecordReader, constraints: Constraint | Constraints, columns: Columns, tokenizer: Any, max_length: int
) -> Annotator:
    """The columns are looked at here, so that none that is missing costs a run."""
    annotator = Annotator(constraints, columns, tokenizer, max_length or None)
    annotator.require(records.schema)
    return annotator


def require_records(count: int, records: RecordReader) -> None:
    """Nothing is right about no records: a corpus without any is mostly a wrong path.

    Raises:
        InputError: there were none.
    """
    if not count:
        raise InputError(f"the corpus holds no record: {', '.join(source.name for source in records.sources)}")


def _index_or_name(start: str) -> int | str:
    return start if start and not start.isdecimal() else int(start or 0)


def _token_id(token: str, tokenizer: Any) -> int:
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise InputError(f"--after: the tokenizer has no token {token!r}")
    return int(found)


def constraints_asked(
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
