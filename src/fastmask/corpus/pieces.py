"""What every format is read as: pieces of a file, a row for each record, broken ones among them."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fastmask.corpus.column_types import nulls

__all__ = ["BROKEN_FILE", "BrokenRecord", "Piece", "build"]

# What readers raise where a file's bytes are not what its format says. What its store fails at is a CorpusError.
BROKEN_FILE = (EOFError, OSError, zlib.error, lzma.LZMAError, pa.ArrowException)
BROKEN_ROWS = (ValueError, TypeError, OverflowError, RecursionError, pa.ArrowException)


class BrokenRecord(ValueError):
    """A record that cannot be read, and why."""


@dataclass(frozen=True)
class Piece:
    """Some records of a file, one after the other."""

    table: pa.Table
    """A row for each; of nulls where it is broken."""
    errors: dict[int, str]
    """Row → what is wrong with its record."""
    lines: npt.NDArray[np.int64] | None
    """[rows] the line on which each record begins, from 1; ``None`` where a format has no lines."""
    position: int
    """Bytes of the file, as it lies in its store, that were read so far."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def cut(self, first: int, every: int | None) -> Iterator[Piece]:
        """The same records in pieces that end at each multiple of ``every``, counting its own first one ``first``."""
        begin = 0
        while begin < len(self):
            end = len(self) if every is None else min(len(self), begin + every - (first + begin) % every)
            yield Piece(
                self.table.slice(begin, end - begin),
                {row - begin: message for row, message in self.errors.items() if begin <= row < end},
                None if self.lines is None else self.lines[begin:end],
                self.position,
            )
            begin = end


def build(make: Callable[[Any], pa.Table], rows: Any, schema: pa.Schema) -> tuple[pa.Table, dict[int, str]]:
    """``make(rows)``, a row of nulls for each that cannot be made; and by row, why.

    ``rows`` can be sliced. Halves are tried until the broken ones stand alone, so few broken rows cost little.
    """
    try:
        return make(rows), {}
    except BROKEN_ROWS as error:
        if len(rows) == 1:
            return nulls(schema, 1), {0: _one_line(error)}
    half = len(rows) // 2
    left, left_errors = build(make, rows[:half], schema)
    right, right_errors = build(make, rows[half:], schema)
    return pa.concat_tables([left, right]), left_errors | {half + row: why for row, why in right_errors.items()}


def _one_line(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):  # what JSON's escapes can say, and UTF-8 cannot
        half, before = error.object[error.start], error.object[max(0, error.start - 20) : error.start]
        return f"expected text, found half of a surrogate pair, {half!a}, behind {before!r}"
    return " ".join(str(error).split()) or type(error).__name__
