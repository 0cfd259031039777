"""The command ``fastmask``: what a schema compiles to."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastmask.constraint import Constraint
from fastmask.errors import FastmaskError, InputError
from fastmask.vocabulary import Vocabulary

__all__ = ["app", "main"]

app = typer.Typer(add_completion=True, no_args_is_help=True, help="Which tokens keep the text within a schema.")


@app.callback()
def commands() -> None:
    """Keeps ``inspect`` a command of its own while it is the only one."""


@app.command()
def inspect(
    schema: Annotated[str, typer.Argument(help="a JSON-schema file, its text, or module:Name of a pydantic model")],
    tokenizer: Annotated[str, typer.Option(help="a Hugging Face tokenizer, by name or folder")] = "",
    size: Annotated[int, typer.Option(help="width of the model's logits; 0: that of the tokenizer")] = 0,
    strict: Annotated[bool, typer.Option(help="refuse a schema of which a part would not be enforced")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")] = False,
) -> None:
    """What a schema compiles to: states, distinct masks, bytes, time. Without a tokenizer: over single bytes.

    Example: fastmask inspect person.schema.json --tokenizer gpt2
    """
    vocabulary = _vocabulary(tokenizer, size)
    began = time.perf_counter()
    constraint = Constraint.from_schema(_schema(schema), vocabulary, strict=strict)
    compiled = time.perf_counter()
    allowed = np.bitwise_count(constraint.bitmask(np.arange(constraint.num_states, dtype=np.int32)).view(np.uint32))
    filled = time.perf_counter()
    facts = {
        "states": constraint.num_states,
        "masks": constraint.num_masks,
        "bytes": constraint.nbytes,
        "vocab_size": constraint.vocab_size,
        "allowed_tokens_median": int(np.median(allowed.sum(axis=-1))),
        "compile_ms": round(1e3 * (compiled - began), 2),
        "all_masks_ms": round(1e3 * (filled - compiled), 2),
        "fingerprint": constraint.fingerprint,
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    table = Table(title=str(schema) if len(schema) <= 60 else None, show_header=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    Console().print(table)


def _schema(given: str) -> Any:
    """A file's text, a model named ``module:Name``, or the text itself."""
    if given.lstrip().startswith(("{", "true", "false")):
        return given
    path = Path(given)
    if path.is_file():
        return path.read_text(encoding="utf-8")
    module, colon, name = given.partition(":")
    if not colon:
        raise InputError(f"{given!r} is neither a file, nor a schema's text, nor module:Name of a pydantic model")
    sys.path.insert(0, "")  # a model beside the user, as `python -m` finds it
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{given!r} cannot be imported: {error}") from error


def _vocabulary(tokenizer: str, size: int) -> Vocabulary:
    if not tokenizer:
        return Vocabulary([bytes([byte]) for byte in range(256)], 256, size or None)
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise InputError(f"no tokenizer could be loaded from {tokenizer!r}: {error}") from error
    return Vocabulary.from_tokenizer(loaded, size or None)


def main() -> None:
    """The entry point: a user's mistake ends in one line and exit code 2, never in a traceback."""
    try:
        app()
    except FastmaskError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(2) from None
