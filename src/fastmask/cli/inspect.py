"""``fastmask inspect``: what a schema compiles to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastmask.allowed_counts import allowed_counts
from fastmask.cli.loading import load_schema, load_vocabulary, write_text
from fastmask.cli.options import AsJson, Quiet, Size, Strict
from fastmask.cli.output import tell
from fastmask.constraint import Constraint
from fastmask.drawing import dot, svg
from fastmask.outlines import schema_to_regex
from fastmask.schema import schema_text

__all__ = ["inspect"]


_REGEX_SHOWN = 160  # characters of a pattern that are worth a look; the whole of it stands in --json


def inspect(
    schema: Annotated[
        str, typer.Argument(help="a JSON schema's file or text, or a pydantic model: module:Name or file.py:Name")
    ],
    tokenizer: Annotated[str, typer.Option(help="a Hugging Face tokenizer, by name or folder")] = "",
    size: Size = 0,
    strict: Strict = True,
    dot_file: Annotated[Path | None, typer.Option("--dot", help="draw the automaton: Graphviz DOT")] = None,
    svg_file: Annotated[Path | None, typer.Option("--svg", help="draw the automaton: SVG; needs Graphviz")] = None,
    max_nodes: Annotated[int, typer.Option(min=1, help="how many states a drawing shows at most")] = 60,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """What a schema compiles to: states, distinct masks, bytes, time. Without a tokenizer: over single bytes.

    Example: fastmask inspect person.schema.json --tokenizer gpt2 --svg person.svg
    """
    loaded, vocabulary = load_schema(schema), load_vocabulary(tokenizer, size)
    began = time.perf_counter()
    constraint = Constraint.from_schema(loaded, vocabulary, strict=strict)
    compiled = time.perf_counter()
    allowed = allowed_counts(constraint, np.arange(constraint.num_states))
    filled = time.perf_counter()
    facts: dict[str, int | float | str] = {
        "states": constraint.num_states,
        "masks": constraint.num_masks,
        "bytes": constraint.nbytes,
        "vocab_size": constraint.vocab_size,
        "allowed_tokens_median": int(np.median(allowed)),
        "compile_ms": round(1e3 * (compiled - began), 2),
        "all_masks_ms": round(1e3 * (filled - compiled), 2),
        "fingerprint": constraint.fingerprint,
        "regex": schema_to_regex(schema_text(loaded)),
    }
    for file, draw in ((dot_file, dot), (svg_file, svg)):
        if file:
            write_text(file, draw(constraint, max_nodes))
    title = schema if len(schema) <= 60 else None
    tell(facts, lambda: Console().print(_table(title, facts)), as_json, quiet)


def _table(title: str | None, facts: dict[str, int | float | str]) -> Table:
    table = Table(title=title, show_header=False)
    for name, value in facts.items():
        shown = f"{value:,}" if isinstance(value, int) else str(value)
        if len(shown) > _REGEX_SHOWN:
            shown = f"{shown[:_REGEX_SHOWN]}… ({len(shown):,} characters)"
        table.add_row(name.replace("_", " "), Text(shown, overflow="fold"))  # markup would eat a pattern's backslashes
    return table
