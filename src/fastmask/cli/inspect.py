"""``fastmask inspect``: what a schema compiles to."""

from __future__ import annotations

import json
import time
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from fastmask.cli.loading import load_schema, load_vocabulary
from fastmask.constraint import Constraint

__all__ = ["inspect"]


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
    vocabulary = load_vocabulary(tokenizer, size)
    began = time.perf_counter()
    constraint = Constraint.from_schema(load_schema(schema), vocabulary, strict=strict)
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
