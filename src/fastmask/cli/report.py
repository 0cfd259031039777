"""``fastmask report``: a page about a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fastmask.cli.loading import load_schema, load_tokenizer
from fastmask.cli.options import (
    After,
    Answer,
    AsJson,
    AsText,
    Broken,
    Corpus,
    Format,
    MaxLength,
    Prompt,
    Quiet,
    Sample,
    Schema,
    Size,
    Start,
    Strict,
    Text,
    Tokenizer,
    Tokens,
    annotator_asked,
    columns_asked,
    read_asked,
    require_records,
)
from fastmask.cli.output import near, tell
from fastmask.cli.wording import in_options
from fastmask.constraint import Constraint
from fastmask.corpus.annotator import Annotator
from fastmask.corpus.problems import settle
from fastmask.corpus.records import SAMPLE, Problem, RecordReader
from fastmask.corpus.report import Statistics, write_report
from fastmask.corpus.verdict import ERROR, VERDICTS
from fastmask.errors import InputError
from fastmask.vocabulary import Vocabulary

__all__ = ["report"]


def report(
    corpus: Corpus,
    tokenizer: Tokenizer,
    schema: Schema,
    out: Annotated[Path, typer.Option(help="the HTML file to write")],
    tokens: Tokens = "",
    text: Text = "",
    answer: Answer = "",
    prompt: Prompt = "",
    start: Start = "",
    after_token: After = "",
    size: Size = 0,
    file_format: Format = "",
    on_error: Broken = "skip",
    sample: Sample = SAMPLE,
    as_text: AsText = None,
    max_length: MaxLength = 0,
    strict: Strict = True,
    drawn: Annotated[int, typer.Option(min=0, help="records that are drawn in full, and as many broken ones")] = 20,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """One HTML file that opens offline: tokens coloured by how many were allowed there, errors, histograms.

    Example: fastmask report answers.jsonl --schema person.schema.json --tokenizer gpt2 --answer reply --out report.html
    """
    if out.is_dir() or not out.parent.is_dir():  # not behind a pass over the corpus
        raise InputError(f"{out} cannot be written: name a file in a folder that is there")
    records = read_asked(corpus, file_format, on_error, sample, as_text, "")
    loaded = load_tokenizer(tokenizer)
    columns = columns_asked(records, loaded, tokens, text, answer, prompt, start, after_token, "")
    con = Constraint.from_schema(load_schema(schema), Vocabulary.from_tokenizer(loaded, size or None), strict=strict)
    annotator = annotator_asked(records, con, columns, loaded, max_length)
    try:
        found = write_report(
            out, con, _rows(records, annotator), title=", ".join(corpus), drawn=drawn, drawn_broken=drawn
        )
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}") from error
    facts = {
        "out": str(out),
        "records": found.records,
        "tokens": found.tokens,
        "verdicts": dict(zip(VERDICTS, found.verdicts.tolist(), strict=True)),
        "left_out": found.left_out,
        "problems": found.problems,
    }
    tell(facts, lambda: _print_report(out, found), as_json, quiet)


def _rows(records: RecordReader, annotator: Annotator) -> Iterator[tuple[Any, Any, int, str] | Problem]:
    """What the report wants of each record that could be judged, and why the others could not."""
    read = 0
    for batch in records:
        read += batch.read
        annotated = annotator(batch.table)
        _, problems = settle(annotated, batch, records.on_error, "error")  # raises where that is asked for
        yield from map(in_options, problems)
        columns = [annotated[name].combine_chunks() for name in ("input_ids", "states", "start", "verdict")]
        for row, (ids, states, start, verdict) in enumerate(zip(*columns, strict=True)):
            if verdict.as_py() != VERDICTS[ERROR]:
                arrays = (cell.values.to_numpy() for cell in (ids, states))
                yield (*arrays, start.as_py(), str(batch.places[row]))
    require_records(read, records)


def _print_report(out: Path, found: Statistics) -> None:
    verdicts = ", ".join(f"{n:,} {name}" for name, n in zip(VERDICTS, found.verdicts.tolist(), strict=True) if n)
    typer.echo(f"{out}: {found.records:,} records, {verdicts}")
    if found.left_out:
        typer.echo(f"{found.left_out:,} left out: {near(found.problems[0])}{', …' if found.left_out > 1 else ''}")
