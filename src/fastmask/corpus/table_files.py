"""Files of columns → pieces: Parquet, Arrow and saved datasets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from fastmask.corpus.column_types import conform, nulls
from fastmask.corpus.pieces import BROKEN_FILE, Piece, build
from fastmask.corpus.sources import Source, Watched

__all__ = ["TABLE_FORMATS", "read_tables", "table_schema"]

FILE_MAGIC = b"ARROW1"
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class Broken(NamedTuple):
    """So many records in a row cannot be read."""

    records: int
    error: Exception


Items = Iterator[tuple["pa.Table | Broken", int]]  # what was read, and the bytes of the file behind which it lies


class TableFormat(NamedTuple):
    schema: Callable[[Source], pa.Schema]
    read: Callable[[Source, int, int], Items]
    """(source, rows of a batch, records to pass over) → the rest."""


def read_tables(source: Source, schema: pa.Schema, batch_size: int, skip: int) -> Iterator[Piece]:
    """A file's records from number ``skip`` on.

    Raises:
        CorpusError: the store does not give the file's bytes.
    """
    for item, position in _until_broken(source, batch_size, skip):
        if isinstance(item, Broken):
            for begin in range(0, item.records, batch_size):
                count = min(batch_size, item.records - begin)
                errors = dict.fromkeys(range(count), f"the file is broken: {item.error}")
                yield Piece(nulls(schema, count), errors, None, position)
        else:
            table, errors = build(lambda rows: conform(rows, schema), item, schema)
            yield Piece(table, errors, None, position)


def table_schema(source: Source) -> pa.Schema:
    """The columns that the file names.

    Raises:
        CorpusError: the store does not give the file's bytes.
    """
    try:
        return TABLE_FORMATS[source.format].schema(source)
    except BROKEN_FILE:  # told when the file's turn comes
        return pa.schema([])


def _until_broken(source: Source, batch_size: int, skip: int) -> Items:
    """Where the file breaks off, so that nobody can say how many records follow: one broken one."""
    position = 0
    try:
        for item, position in TABLE_FORMATS[source.format].read(source, batch_size, skip):
            yield item, position
    except BROKEN_FILE as error:
        yield Broken(1, error), position


# ---- Parquet ------------------------------------------------------------------------------------------------------


def _open_parquet(stored: Watched) -> pq.ParquetFile:
    """Read in small steps: a row group can be larger than the memory."""
    return pq.ParquetFile(stored, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)


def _parquet_schema(source: Source) -> pa.Schema:
    with source.open() as stored:
        return _open_parquet(stored).schema_arrow


def _read_parquet(source: Source, batch_size: int, skip: int) -> Items:
    """A broken row group takes none of the others with it: the file's end tells where each begins."""
    with source.open() as stored:
        file = _open_parquet(stored)
        behind = 0
        for group in range(file.num_row_groups):
            begin, behind = behind, behind + file.metadata.row_group(group).num_rows
            at = begin
            try:
                for batch in file.iter_batches(batch_size, row_groups=[group]) if behind > skip else ():
                    table, at = pa.Table.from_batches([batch]).slice(max(0, skip - at)), at + len(batch)
                    if len(table):
                        yield table, source.size * at // file.metadata.num_rows
            except BROKEN_FILE as error:
                yield Broken(behind - max(at, skip), error), source.size * behind // file.metadata.num_rows


# ---- Arrow --------------------------------------------------------------------------------------------------------


def _arrow_schema(source: Source) -> pa.Schema:
    with source.open() as stored:
        return (pa.ipc.open_file if _is_file(stored) else pa.ipc.open_stream)(stored).schema


def _read_arrow(source: Source, batch_size: int, skip: int) -> Items:
    with source.open() as stored:
        for item in _file_batches(stored) if _is_file(stored) else _stream_batches(stored):
            if isinstance(item, Broken):
                if not skip:
                    yield item, stored.tell()
                skip = max(0, skip - item.records)
            else:
                for begin in range(skip, len(item), batch_size):
                    yield pa.Table.from_batches([item.slice(begin, batch_size)]), stored.tell()
                skip = max(0, skip - len(item))


def _is_file(stored: Watched) -> bool:
    """Whether this is Arrow's format for files; otherwise it is that for streams, which has no mark of its own."""
    magic = stored.read(len(FILE_MAGIC))
    stored.seek(0)
    return magic == FILE_MAGIC


def _file_batches(stored: Watched) -> Iterator[pa.RecordBatch | Broken]:
    reader = pa.ipc.open_file(stored)
    for number in range(reader.num_record_batches):
        try:
            yield reader.get_batch(number)
        except BROKEN_FILE as error:  # of unknown length; those behind it can be found
            yield Broken(1, error)


def _stream_batches(stored: Watched) -> Iterator[pa.RecordBatch]:
    """A stream that was cut between two batches reads like a whole one, but for the mark at its end."""
    yield from pa.ipc.open_stream(stored)
    stored.seek(-len(END_OF_STREAM), os.SEEK_END)
    if stored.read() != END_OF_STREAM:
        raise EOFError("the stream's end is missing, and with it perhaps records")


# ---- saved datasets -----------------------------------------------------------------------------------------------


def _load(source: Source) -> Any:
    import datasets  # takes a second or two, which no other format should pay

    return datasets.load_from_disk(source.name).with_format("arrow")


def _dataset_schema(source: Source) -> pa.Schema:
    return _load(source).features.arrow_schema


def _read_dataset(source: Source, batch_size: int, skip: int) -> Items:
    dataset = _load(source)
    at = skip
    if skip == len(dataset):  # an empty selection is refused
        return
    for table in dataset.select(range(skip, len(dataset))).iter(batch_size):
        at += len(table)
        yield table, source.size * at // len(dataset)


TABLE_FORMATS = {
    "parquet": TableFormat(_parquet_schema, _read_parquet),
    "arrow": TableFormat(_arrow_schema, _read_arrow),
    "dataset": TableFormat(_dataset_schema, _read_dataset),
}
