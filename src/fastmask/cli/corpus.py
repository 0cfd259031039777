"""``fastmask check`` and ``fastmask annotate``: corpora from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastmask.cli.loading import load_tokenizer
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
    SchemaColumn,
    Size,
    Start,
    Strict,
    Text,
    Tokenizer,
    Tokens,
    annotator_asked,
    columns_asked,
    constraints_asked,
    read_asked,
    require_records,
)
from fastmask.cli.output import near, tell
from fastmask.cli.ray_engine import annotate_on_ray
from fastmask.cli.wording import as_options, in_options
from fastmask.constraint import Constraint
from fastmask.corpus.check import CorpusCheck, Finding, check_corpus
from fastmask.corpus.mask_file import write_masks
from fastmask.corpus.records import SAMPLE
from fastmask.corpus.shards import write_shards
from fastmask.corpus.summary import Summary
from fastmask.corpus.verdict import ERROR, VERDICTS
from fastmask.errors import InputError
from fastmask.vocabulary import Vocabulary

__all__ = ["annotate", "check"]

_SHARD_ROWS = 100_000


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
    sample: Sample = SAMPLE,
    as_text: AsText = None,
    max_length: MaxLength = 0,
    strict: Strict = True,
    limit: Annotated[int, typer.Option(min=0, help="findings that are listed")] = 20,
    canonical: Annotated[bool, typer.Option(help="tokenise answers anew, count those spelled otherwise")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Which records of a corpus break the schema: where, what stood there, and what was expected.

    Example: fastmask check answers.jsonl --schema person.schema.json --tokenizer gpt2 --answer reply
    """
    records = read_asked(corpus, file_format, on_error, sample, as_text, schema_column)
    loaded = load_tokenizer(tokenizer)
    columns = columns_asked(records, loaded, tokens, text, answer, prompt, start, after_token, schema_column)
    constraints = constraints_asked(schema, schema_column, Vocabulary.from_tokenizer(loaded, size or None), strict)
    annotator = annotator_asked(records, constraints, columns, loaded, max_length)
    found = check_corpus(records, annotator, limit=limit, tokenizer=loaded if canonical else None)
    require_records(found.records, records)
    found.findings = [_in_options(finding) for finding in found.findings]
    tell(found.to_json(), lambda: _print_check(found, canonical), as_json, quiet)
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
    sample: Sample = SAMPLE,
    as_text: AsText = None,
    max_length: MaxLength = 0,
    strict: Strict = True,
    shard_rows: Annotated[int, typer.Option(min=1, help="records of a shard")] = _SHARD_ROWS,
    engine: Annotated[
        Literal["embedded", "ray"], typer.Option(help="embedded, or ray: a Ray cluster reads, annotates and writes")
    ] = "embedded",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """The corpus with token ids, states and verdicts, as Parquet shards, and its masks in one file beside them.

    Started again after a kill, it goes on where it was. A mask is rows[row_of[state]] of masks.safetensors.

    Example: fastmask annotate answers.jsonl --schema person.schema.json --tokenizer gpt2 --answer reply --out annotated
    """
    if not out:  # a shell's variable that is not set; fsspec would take it for the folder that we stand in
        raise InputError("--out is empty: name a folder, or an fsspec URL of one")
    if engine == "ray" and (on_error != "keep" or sample != SAMPLE or as_text or shard_rows != _SHARD_ROWS):
        raise InputError(
            "--engine ray reads and keeps every record and sizes its files itself: no --on-error, no --sample, no"
            " --as-text, no --shard-rows"
        )
    records = read_asked(
        corpus, file_format, on_error if engine == "embedded" else "raise", sample, as_text, schema_column
    )
    loaded = load_tokenizer(tokenizer)
    columns = columns_asked(records, loaded, tokens, text, answer, prompt, start, after_token, schema_column)
    vocabulary = Vocabulary.from_tokenizer(loaded, size or None)

    def keep_masks(con: Constraint) -> None:
        write_masks(con, f"{out}/masks/{con.fingerprint}.safetensors", auto_mkdir=True)

    constraints = constraints_asked(schema, schema_column, vocabulary, strict, keep_masks)
    annotator = annotator_asked(records, constraints, columns, loaded, max_length)
    if engine == "ray":
        written = annotate_on_ray(corpus, file_format, annotator, out)
        facts, show = {"written": written}, lambda: typer.echo(f"{written:,} records written")
    else:
        summary = write_shards(
            records,
            annotator,
            out,
            shard_rows=shard_rows,
            settings=annotator.settings,
            error="error",
            progress=False if quiet else None,  # None: if stderr is a terminal
        )
        require_records(summary.read, records)
        summary.problems = list(map(in_options, summary.problems))
        facts, show = summary.to_json(), lambda: _print_summary(summary)
    if isinstance(constraints, Constraint):  # last, so that a run which is refused leaves another's masks alone
        write_masks(constraints, f"{out}/masks.safetensors", auto_mkdir=True)
    tell(facts, show, as_json, quiet)


# ---- what came of it ------------------------------------------------------------------------------------


def _print_check(found: CorpusCheck, canonical: bool) -> None:
    console = Console()
    for finding in found.findings:
        console.print(
            f"[bold]{escape(near(finding.place))}[/] {escape(_told(finding))}", highlight=False, soft_wrap=True
        )
    table = Table(show_header=False)
    _add_counts(table, {"records": found.records, "tokens": found.tokens, **dict(sorted(found.verdicts.items()))})
    if found.skipped:
        table.add_row("skipped", f"{found.skipped:,}")
    if canonical:
        table.add_row("spelled otherwise", f"{found.respelled:,}")
    console.print(table)


def _add_counts(table: Table, counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")


def _in_options(finding: Finding) -> Finding:
    """A reader's message may name an argument; others quote the corpus, whose words are left alone."""
    return finding._replace(message=as_options(finding.message)) if finding.verdict == VERDICTS[ERROR] else finding


def _told(finding: Finding) -> str:
    where = "" if finding.token is None else f"token {finding.token}, character {finding.character}: "
    return f"{where}{finding.message}{f'  … {finding.before!r}' if finding.before else ''}"


def _print_summary(summary: Summary) -> None:
    table = Table(show_header=False)
    _add_counts(table, {name: getattr(summary, name) for name in ("read", "written", "skipped", "tokens", "shards")})
    table.add_section()
    _add_counts(table, dict(sorted(summary.verdicts.items())))
    console = Console()
    for problem in summary.problems:
        console.print(escape(near(problem)), highlight=False, soft_wrap=True)
    console.print(table)
