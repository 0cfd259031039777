"""Records of a corpus, batch by batch, each with the place that it stands at."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fastmask.corpus.column_types import join, settle, text_columns
from fastmask.corpus.columns import ADDED
from fastmask.corpus.pieces import Piece
from fastmask.corpus.row_files import ROW_FORMATS, json_schema, read_rows, row_schema
from fastmask.corpus.sources import Source, find_sources
from fastmask.corpus.table_files import read_tables, table_schema
from fastmask.errors import CorpusError, InputError

__all__ = ["Cursor", "Place", "Places", "Problem", "RecordReader", "Records", "read_records"]

OnError = Literal["raise", "skip", "keep"]
SAMPLE = 10_000  # JSON records that settle types
ERROR = "error"  # the column that says what is wrong with a record that is kept


class Place(NamedTuple):
    """Where a record stands; as text, ``file.jsonl:17 (record 16)``."""

    file: str
    """Its path or URL."""
    record: int
    """Its number within the file, from 0."""
    line: int | None
    """The line on which it begins, from 1; ``None`` where a format has no lines."""

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'} (record {self.record:,})"


class Problem(NamedTuple):
    """A broken record, and what is wrong with it."""

    place: Place
    """Where it stands."""
    message: str
    """Why it could not be read or judged."""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class Cursor(NamedTuple):
    """How far a corpus was read: everything before this record of this file."""

    file: int = 0
    record: int = 0


START = Cursor()


@dataclass(frozen=True)
class Places:
    """Where the rows of a batch stand: ``places[row]`` is a :class:`Place`."""

    file: str
    records: npt.NDArray[np.int64]
    """[rows] numbers within the file, from 0."""
    lines: npt.NDArray[np.int64] | None
    """[rows] from 1; ``None`` where a format has no lines."""

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> Place:
        return Place(self.file, int(self.records[row]), None if self.lines is None else int(self.lines[row]))


@dataclass(frozen=True)
class Records:
    """A batch: some records of one file, one after the other."""

    table: pa.Table
    """Its records, with the types that are the corpus's."""
    places: Places
    """One for each row of ``table``."""
    problems: tuple[Problem, ...]
    """The broken ones among them: left out of ``table``, or rows of nulls in it."""
    read: int
    """Records read: the rows of ``table`` and what was left out."""
    end: Cursor
    """Where the next batch begins."""
    position: int
    """Bytes of the whole corpus, as it lies in its stores, that were read so far."""


class RecordReader:
    """What :func:`read_records` returns. Each iteration reads the corpus anew; nothing is kept of it.

    Raises:
        CorpusError: types that do not fit each other, or a column of the name that ``on_error="keep"`` adds.
    """

    def __init__(
        self, sources: list[Source], batch_size: int, on_error: OnError, sample: int, columns: Mapping[str, pa.DataType]
    ) -> None:
        self.sources = sources
        self.on_error = on_error
        self._batch_size = batch_size
        found = join(_schemas(sources, sample))
        self._columns = settle(found, columns)
        self._as_text = text_columns(found, self._columns, columns)
        self._annotated = set(ADDED) <= set(self._columns.names)
        if on_error == "keep" and ERROR in self._columns.names and not self._annotated:
            raise CorpusError(
                f"the corpus has a column {ERROR!r}, in which on_error='keep' writes what is wrong with a record: "
                "rename it, or choose on_error='skip'"
            )

    @property
    def schema(self) -> pa.Schema:
        """Columns and types of every batch."""
        if self.on_error != "keep" or self._annotated:
            return self._columns
        return self._columns.append(pa.field(ERROR, pa.string()))

    @property
    def size(self) -> int:
        """Bytes of all files as they lie in their stores."""
        return sum(source.size for source in self.sources)

    def identity(self) -> dict[str, Any]:
        """What must be the same for two readers to give the same records; JSON values."""
        files = [[source.name, source.format, source.size, source.stamp] for source in self.sources]
        return {
            "input files": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
            "types": {column.name: str(column.type) for column in self._columns},
            "on error": self.on_error,
        }

    def __iter__(self) -> Iterator[Records]:
        return self.batches()

    def batches(self, start: Cursor = START, every: int | None = None) -> Iterator[Records]:
        """The records from ``start`` on; ``every``: a batch ends at each multiple of so many records behind it.

        Raises:
            CorpusError: a broken record with ``on_error="raise"``; a store that fails.
        """
        read = 0
        position = sum(source.size for source in self.sources[: start.file])
        for number, source in enumerate(self.sources[start.file :], start.file):
            record = start.record if number == start.file else 0
            for whole in self._pieces(source, record):
                if not self._columns.names:
                    place = Place(source.name, record, None if whole.lines is None else int(whole.lines[0]))
                    why = whole.errors.get(0, "an object without keys")
                    raise CorpusError(f"{place}: {why}; and no other record tells any column")
                for piece in whole.cut(read, every):
                    end = Cursor(number, record + len(piece))
                    yield self._judged(piece, source.name, record, end, position)
                    read, record = read + len(piece), end.record
            position += source.size

    def _pieces(self, source: Source, skip: int) -> Iterator[Piece]:
        if source.format in ROW_FORMATS:
            return read_rows(source, self._columns, self._as_text, self._batch_size, skip)
        return read_tables(source, self._columns, self._batch_size, skip)

    def _judged(self, piece: Piece, file: str, first: int, end: Cursor, position: int) -> Records:
        """A piece with what is broken in it treated as ``on_error`` says."""
        places = Places(file, np.arange(first, first + len(piece)), piece.lines)
        problems = tuple(Problem(places[row], message) for row, message in sorted(piece.errors.items()))
        if problems and self.on_error == "raise":
            raise CorpusError(str(problems[0]))
        table = piece.table
        if self.on_error == "keep":
            messages = pa.array([piece.errors.get(row) for row in range(len(piece))], pa.string())
            table = _with_errors(table, messages)
        elif problems:
            whole = np.ones(len(piece), dtype=bool)
            whole[list(piece.errors)] = False
            table = table.filter(pa.array(whole))
            places = Places(file, places.records[whole], None if places.lines is None else places.lines[whole])
        return Records(table, places, problems, len(piece), end, position + piece.position)


def read_records(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    format: str | None = None,
    batch_size: int = 1_000,
    on_error: OnError = "raise",
    sample: int = SAMPLE,
    columns: Mapping[str, pa.DataType] | None = None,
) -> RecordReader:
    """Reads records from files of any size; memory holds a few batches, whatever the corpus.

    ======== =========================== ===============================================================
    format   files                       a record
    ======== =========================== ===============================================================
    jsonl    ``.jsonl``, ``.ndjson``     a line with a JSON object; blank lines are none
    csv      ``.csv``                    a row, all of it text; the first line names the columns
    text     ``.txt``                    a line, in the column ``text``, also if it is empty
    conllu   ``.conllu``                 a sentence: ``sent_id``, ``text``, ``words`` as list of form, upos
    parquet  ``.parquet``                a row
    arrow    ``.arrow``                  a row; Arrow's format for files or for streams
    dataset  a ``save_to_disk`` folder   a row
    ======== =========================== ===============================================================

    Files of lines may be compressed: ``.gz``, ``.bz2``, ``.xz``, ``.zst``. Every batch has the same columns of the same
    types: those of all files together. A column that a record does not have is null in it. The types of JSONL are those
    of its first ``sample`` records.

    Args:
        paths: files, globs, folders of files, or fsspec URLs of such; one, or several in the order to be read.
        format: of all files; ``None``: each by its suffix.
        batch_size: records of a batch at most; no batch spans two files.
        on_error: what becomes of a broken record (no JSON, no UTF-8, of another type, a file that breaks off):
            ``"raise"`` ends the run with its place; ``"skip"`` leaves it out and lists it in ``problems``; ``"keep"``
            gives a row of nulls with what is wrong in the further column ``error``, null for all others. An annotated
            corpus has that column already, and what it says stays.
        sample: JSON records that are looked at, and held in memory, to settle types before reading.
        columns: types of some columns that count instead of those found, converted without loss or refused. In a
            ``pa.string()`` column of JSONL what is no text is kept as JSON text, so that its shape may vary.

    Raises:
        CorpusError: no such files; a format that cannot be told; files whose columns contradict each other; while
            reading, a broken record, named by its place, or a store that does not give its bytes.
        InputError: ``batch_size``, ``sample`` or ``on_error`` is out of range.
    """
    if batch_size < 1 or sample < 1:
        raise InputError(f"batch_size and sample must be at least 1, got {batch_size} and {sample}")
    if on_error not in {"raise", "skip", "keep"}:
        raise InputError(f"on_error must be 'raise', 'skip' or 'keep', got {on_error!r}")
    return RecordReader(find_sources(paths, format), batch_size, on_error, sample, columns or {})


def _with_errors(table: pa.Table, messages: pa.Array) -> pa.Table:
    """What is wrong with records as a column, beside what an annotated corpus says about its own."""
    if ERROR not in table.column_names:
        return table.append_column(ERROR, messages)
    number, said = table.column_names.index(ERROR), table[ERROR]
    return table.set_column(number, table.schema.field(number), pc.coalesce(said, messages.cast(said.type)))


def _schemas(sources: list[Source], sample: int) -> Iterator[tuple[str, pa.Schema]]:
    """(file, columns); all JSONL counts as one file, which has the columns of its first records."""
    lines = [source for source in sources if source.format == "jsonl"]
    if lines:
        yield lines[0].name, json_schema(lines, sample)
    for source in sources:
        if source.format != "jsonl":
            yield source.name, (row_schema if source.format in ROW_FORMATS else table_schema)(source)
