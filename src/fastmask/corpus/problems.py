"""Records that a transformation could make nothing of, beside those that could not be read."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa

from fastmask.corpus.records import OnError, Problem, Records
from fastmask.errors import CorpusError

__all__ = ["settle", "warn_if_all"]


def settle(table: pa.Table, batch: Records, on_error: OnError, error: str | None) -> tuple[pa.Table, list[Problem]]:
    """What is to be written of a transformed batch, and what is wrong with its records, by their places.

    Args:
        table: a row for each of ``batch.table``.
        error: the column of ``table`` that tells what is wrong with a record, null where nothing is; ``None``: none.
        on_error: ``"raise"``, ``"skip"`` (left out of the table) or ``"keep"``.

    Raises:
        CorpusError: with ``"raise"``, the first problem.
    """
    if error is None:
        return table, list(batch.problems)
    said = table[error]
    wrong = np.flatnonzero(said.is_valid())
    told = [Problem(batch.places[int(row)], said[int(row)].as_py()) for row in wrong]
    if told and on_error == "raise":
        raise CorpusError(str(told[0]))
    unread = [] if on_error == "keep" else batch.problems  # those that were kept tell in the same column
    kept = table if on_error == "keep" or not told else table.filter(said.is_null())
    return kept, sorted([*unread, *told], key=lambda problem: problem.place.record)


def warn_if_all(errors: int, records: int, first: object) -> None:
    """Warn where not one record could be judged: seldom is that the records' fault."""
    if records and errors == records:
        warnings.warn(
            f"none of the {records:,} records could be judged: are these the right columns, and the tokenizer they were"
            f" made with? The first: {first}",
            stacklevel=3,
        )
