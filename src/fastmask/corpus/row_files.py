"""Files of lines → pieces: JSONL, CSV, plain text and CoNLL-U.

Each format is two functions. One splits a file into records without looking into them, which is all that happens to
records that are passed over; the other reads one record. Lines end at ``\\n`` or ``\\r\\n`` only: U+2028, form feeds
and the like, at which ``str.splitlines`` splits, are characters as any other.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count, islice
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
from conllu.exceptions import ParseException
from conllu.parser import parse_comment_line, parse_line

from fastmask.corpus.column_types import conform, infer, json_table
from fastmask.corpus.pieces import BROKEN_FILE, BrokenRecord, Piece, build
from fastmask.corpus.sources import Source

__all__ = ["ROW_FORMATS", "json_schema", "read_rows", "row_schema"]

BOM = b"\xef\xbb\xbf"
LONGEST_LINE = 1 << 28  # bytes, and
LONGEST_FIELD = 1 << 26  # characters: beyond, a file is not what its name says, or a quote was never closed
BATCH_BYTES = 1 << 26  # a batch ends here even if it has few records: long ones must not fill the memory

WORDS = pa.list_(pa.struct([("form", pa.string()), ("upos", pa.string())]))
CONLLU = pa.schema([("sent_id", pa.string()), ("text", pa.string()), ("words", WORDS)])
CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")

Raw = Any  # a line's bytes, a sentence's lines, a row's fields by column; or the BrokenRecord that stands in its place
Numbered = Iterator[tuple[int, Raw]]  # (the line on which the record begins, from 1, and the record)


class RowFormat(NamedTuple):
    """How a format is split into records, and how one is read, which raises BrokenRecord where it cannot be."""

    split: Callable[[BinaryIO], Numbered]
    read: Callable[[Raw], Mapping[str, Any]]


def read_rows(source: Source, schema: pa.Schema, as_text: set[str], batch_size: int, skip: int) -> Iterator[Piece]:
    """A file's records from number ``skip`` on; ``as_text``: columns of JSONL that are kept as JSON text.

    Raises:
        CorpusError: the store does not give the file's bytes.
    """
    make = _table_maker(source, schema, as_text)
    with source.open() as stored, source.decompress(stored) as stream:
        for batch in _batches(islice(_records(source, stream), skip, None), batch_size):
            rows, errors = [], {}
            for number, (_, raw) in enumerate(batch):
                try:
                    rows.append(_read(source, raw))
                except BrokenRecord as error:
                    rows.append({})
                    errors[number] = str(error)
            table, misfits = build(make, rows, schema)
            lines = np.array([line for line, _ in batch], dtype=np.int64)
            yield Piece(table, misfits | errors, lines, stored.tell())


def row_schema(source: Source) -> pa.Schema:
    """The columns that the format has; for CSV those that the file's first line names, all of them text.

    Raises:
        CorpusError: the store does not give the file's bytes.
    """
    if source.format == "text":
        return pa.schema([("text", pa.string())])
    if source.format == "conllu":
        return CONLLU
    with source.open() as stored, source.decompress(stored) as stream:
        try:
            return pa.schema([(name, pa.string()) for name in next(_csv_rows(stream))[1]])
        except (StopIteration, BrokenRecord, *BROKEN_FILE):  # told when the file's turn comes
            return pa.schema([])


def json_schema(sources: Iterable[Source], sample: int) -> pa.Schema:
    """The types of the first ``sample`` JSON objects of all files together; broken ones are passed over."""
    rows: list[Mapping[str, Any]] = []
    for source in sources:
        with source.open() as stored, source.decompress(stored) as stream:
            for _, raw in islice(_records(source, stream), sample - len(rows)):
                try:
                    rows.append(_read(source, raw))
                except BrokenRecord:
                    continue
        if len(rows) == sample:
            break
    return infer(rows)


def _table_maker(source: Source, schema: pa.Schema, as_text: set[str]) -> Callable[[Any], pa.Table]:
    if source.format == "jsonl":
        return lambda rows: json_table(rows, schema, as_text)
    own = row_schema(source)
    return lambda rows: conform(pa.Table.from_pylist(rows, schema=own), schema)


def _records(source: Source, stream: BinaryIO) -> Numbered:
    """The records, and where the file breaks off one more that says so."""
    line = 0
    try:
        for line, raw in ROW_FORMATS[source.format].split(stream):
            yield line, raw
    except (BrokenRecord, *BROKEN_FILE) as error:
        yield line + 1, BrokenRecord(f"the file breaks off: {error}")


def _read(source: Source, raw: Raw) -> Mapping[str, Any]:
    if isinstance(raw, BrokenRecord):
        raise raw
    return ROW_FORMATS[source.format].read(raw)


def _batches(records: Numbered, batch_size: int) -> Iterator[list[tuple[int, Raw]]]:
    batch: list[tuple[int, Raw]] = []
    weight = 0
    for line, raw in records:
        batch.append((line, raw))
        weight += _weight(raw)
        if len(batch) == batch_size or weight >= BATCH_BYTES:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def _weight(raw: Raw) -> int:
    if isinstance(raw, bytes):
        return len(raw)
    return sum(map(len, raw.values())) if isinstance(raw, dict) else 0  # no sentence is long


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Every line, from 1, without its end."""
    return ((number, line.removesuffix(b"\n").removesuffix(b"\r")) for number, line in _whole_lines(stream))


def _whole_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Every line with its end, but without the mark that some editors put before the first."""
    for number in count(1):
        line = stream.readline(LONGEST_LINE)
        if not line:
            return
        if len(line) == LONGEST_LINE:
            raise BrokenRecord(f"line {number} is longer than {LONGEST_LINE:,} bytes: expected one record a line")
        yield number, line.removeprefix(BOM) if number == 1 else line


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        found = line[error.start : error.end].hex(" ")
        raise BrokenRecord(f"expected UTF-8, found byte(s) {found} behind byte {error.start} of the line") from error


# ---- JSONL --------------------------------------------------------------------------------------------------------


def _split_jsonl(stream: BinaryIO) -> Numbered:
    return ((number, line) for number, line in _lines(stream) if line.strip())


def _read_json(line: bytes) -> Mapping[str, Any]:
    try:
        value = DECODER.decode(_decoded(line))
    except json.JSONDecodeError as error:
        raise BrokenRecord(f"expected a JSON object, found {error.msg!r} at column {error.colno}") from error
    except RecursionError as error:
        raise BrokenRecord("expected a JSON object, found one that is nested too deeply to be read") from error
    except BrokenRecord:
        raise
    except ValueError as error:  # a number of more digits than Python reads
        raise BrokenRecord(f"expected a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise BrokenRecord(f"expected a JSON object, found {_shortened(line)}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict would keep the last of two equal keys, and lose the other without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BrokenRecord(f"the key {twice!r} stands twice in one object")
    return found


def _shortened(line: bytes) -> str:
    text = line.strip().decode("utf-8")
    return text if len(text) <= 40 else f"{text[:40]}…"


DECODER = json.JSONDecoder(object_pairs_hook=_object)


# ---- plain text ---------------------------------------------------------------------------------------------------


def _read_text(line: bytes) -> Mapping[str, Any]:
    return {"text": _decoded(line)}


# ---- CSV ----------------------------------------------------------------------------------------------------------


def _split_csv(stream: BinaryIO) -> Numbered:
    """Rows by column. A file whose first line names no columns breaks off there."""
    rows = _csv_rows(stream)
    _, header = next(rows, (0, ()))
    if isinstance(header, BrokenRecord):
        raise header
    for line, fields in rows:
        if isinstance(fields, BrokenRecord):
            yield line, fields
        elif len(fields) != len(header):
            yield line, BrokenRecord(f"expected {len(header)} fields as in the first line, found {len(fields)}")
        else:
            yield line, dict(zip(header, fields, strict=True))


def _csv_rows(stream: BinaryIO) -> Iterator[tuple[int, Any]]:
    """(first line, fields) of each row that is not blank; a BrokenRecord in place of what are no fields."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))  # the module's 128 KiB are no long text
    undecodable: list[BrokenRecord] = []

    def lines() -> Iterator[str]:
        for _, line in _whole_lines(stream):  # with their ends: within quotes these are text
            try:
                yield _decoded(line)
            except BrokenRecord as error:  # the row goes on to where its quotes say, and is broken as a whole
                undecodable.append(error)
                yield line.decode("utf-8", "replace")

    reader = csv.reader(lines(), strict=True)
    while True:
        begin = reader.line_num + 1
        try:
            fields: Any = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fields = BrokenRecord(f"expected a row of CSV: {error}")
        if undecodable:
            fields = undecodable.pop()
            undecodable.clear()
        if fields:
            yield begin, fields


# ---- CoNLL-U ------------------------------------------------------------------------------------------------------


def _split_conllu(stream: BinaryIO) -> Numbered:
    """Runs of lines between blank ones."""
    block: list[tuple[int, bytes]] = []
    for number, line in _lines(stream):
        if line.strip():
            block.append((number, line))
        elif block:
            yield block[0][0], block
            block = []
    if block:
        yield block[0][0], block


def _read_sentence(block: list[tuple[int, bytes]]) -> Mapping[str, Any]:
    """Syntactic words are the words: a range (``3-4  don't``) repeats those behind it, ``5.1`` is on no surface."""
    comments: dict[str, str | None] = {}
    words = []
    for number, raw in block:
        line = _decoded(raw)
        if line.startswith("#"):
            comments.update(parse_comment_line(line))
            continue
        if line.count("\t") + 1 != len(CONLLU_COLUMNS):
            raise BrokenRecord(f"expected ten columns on line {number}, separated by tabs: {' '.join(CONLLU_COLUMNS)}")
        try:
            token = parse_line(line, CONLLU_COLUMNS[:4])  # an odd feature is no reason to refuse a sentence
        except ParseException as error:
            raise BrokenRecord(f"expected an id like 7, 7-8 or 7.1 on line {number}: {error}") from error
        if isinstance(token["id"], int):
            words.append({"form": token["form"], "upos": token["upos"]})
    if not words:
        raise BrokenRecord("expected at least one word, a line with an id like 1")
    # Universal Dependencies demands `# text`; the words stand in where it is missing.
    text = comments.get("text") or " ".join(word["form"] for word in words)
    return {"sent_id": comments.get("sent_id"), "text": text, "words": words}


ROW_FORMATS = {
    "jsonl": RowFormat(_split_jsonl, _read_json),
    "text": RowFormat(_lines, _read_text),
    "csv": RowFormat(_split_csv, lambda fields: fields),
    "conllu": RowFormat(_split_conllu, _read_sentence),
}
