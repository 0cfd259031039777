"""Shards in a folder: each written whole or not at all, and each with a note of what it was made from."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from fastmask.corpus.only_writer import only_writer
from fastmask.corpus.pieces import BROKEN_FILE
from fastmask.corpus.records import Cursor, RecordReader
from fastmask.corpus.sources import Source
from fastmask.corpus.summary import Summary
from fastmask.differences import differences
from fastmask.errors import CorpusError

__all__ = ["Shard", "ShardFolder"]

NOTE = b"fastmask"  # the key in Parquet's metadata
SHARD = re.compile(r"part-(\d{5,})\.parquet")
ROW_GROUP_BYTES = 1 << 25
NOTED = 2  # which counts a note holds; a run that noted others cannot be gone on with


@dataclass
class Shard:
    """Which stretch of the corpus a shard holds, and what became of its records."""

    begin: Cursor
    end: Cursor
    position: int
    """Bytes of the corpus up to its end."""
    summary: Summary = field(default_factory=lambda: Summary(shards=1))


class ShardFolder:
    """``out`` as one run sees it: a corpus that is read in one way, and the settings that shape its shards.

    A local shard is written beside its place, synced and renamed. Elsewhere it is written to the local disk for
    temporary files and put into its place in one go; where a store does not even put files whole, a shard that breaks
    off lacks its end, which shows, and it is written again.

    Raises:
        CorpusError: ``out`` cannot be made, or the corpus lies in it.
    """

    def __init__(self, out: str | os.PathLike[str], records: RecordReader, settings: dict[str, Any]) -> None:
        self._name = os.fspath(out)
        try:
            self._fs, self._path = url_to_fs(self._name)
            self._fs.makedirs(self._path, exist_ok=True)
        except Exception as error:  # whatever the store fails at
            raise CorpusError(f"{self._name} cannot be made a folder: {error}") from error
        for source in records.sources:
            if type(source.fs) is type(self._fs) and source.path.startswith(f"{self._path}/"):
                raise CorpusError(f"{source.name} is a part of the corpus and lies in {self._name}: write elsewhere")
        self._sources = records.sources
        self._run = {"form of a shard's note": NOTED} | records.identity() | settings
        self._schema: pa.Schema | None = None
        self._local = isinstance(self._fs, LocalFileSystem)

    def held(self) -> AbstractContextManager[None]:
        """For this run alone, where the folder is a local one; see :func:`only_writer`."""
        return only_writer(self._path) if self._local else nullcontext()

    def done(self, resume: bool) -> list[Shard]:
        """The shards that stand already, from the first one up to the first gap.

        Raises:
            CorpusError: some stand that this run would not have written, or any with ``resume=False``.
        """
        if self._local:
            for left_over in Path(self._path).glob(".part-*.tmp"):
                left_over.unlink(missing_ok=True)  # a killed run's
        names = {os.path.basename(path) for path in self._fs.ls(self._path, detail=False)}
        numbers = {int(match[1]) for match in map(SHARD.fullmatch, names) if match}
        if numbers and not resume:
            raise CorpusError(f"{self._name} holds shards already: give another folder, or resume=True to go on there")
        read = {number: self._read(number) for number in sorted(numbers)}
        shards: list[Shard] = []
        while (shard := read.get(len(shards))) is not None:
            shards.append(shard)
        return shards

    def write(self, number: int, tables: Iterable[pa.Table], shard: Shard) -> None:
        """Writes a shard; ``shard`` is read once ``tables`` are at their end.

        Raises:
            CorpusError: there is no room or no permission; or columns that differ from those of the other shards.
        """
        name = self._shard_name(number)
        temporary = self._temporary(number)
        try:
            with temporary.open("wb") as file:
                self._write(file, tables, shard)
                file.flush()
                os.fsync(file.fileno())
            self._publish(temporary, name)
        except (OSError, pa.ArrowException) as error:
            raise CorpusError(
                f"{name} cannot be written: {error}. Shards before it, all complete: {number:,}. "
                "Run again once the cause is gone, and it goes on from there"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _shard_name(self, number: int) -> str:
        return f"{self._path}/part-{number:05d}.parquet"

    def _temporary(self, number: int) -> Path:
        folder = self._path if self._local else tempfile.gettempdir()
        return Path(folder) / f".part-{number:05d}.{os.getpid()}.tmp"

    def _publish(self, temporary: Path, name: str) -> None:
        if not self._local:
            try:
                self._fs.put_file(str(temporary), name)
            except Exception as error:  # each store has its own
                raise OSError(str(error)) from error
            return
        os.replace(temporary, name)
        if os.name == "posix":  # Windows opens no folders
            folder = os.open(self._path, os.O_RDONLY)
            try:
                os.fsync(folder)  # the name, too, is to outlast a power cut
            finally:
                os.close(folder)

    def _write(self, file: BinaryIO, tables: Iterable[pa.Table], shard: Shard) -> None:
        writer = None
        try:
            for table in _row_groups(map(self._checked, tables)):
                writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd", write_page_checksum=True)
                writer.write_table(table, row_group_size=max(1, table.num_rows))
            assert writer is not None, "a shard has at least one batch"
            writer.add_key_value_metadata({NOTE: json.dumps(self._note(shard))})
            writer.close()
        except BaseException:
            if writer is not None:
                writer.is_open = False  # or it would write its end when collected, to a file that is gone
            raise

    def _checked(self, table: pa.Table) -> pa.Table:
        self._schema = self._schema or table.schema
        if not table.schema.equals(self._schema):
            raise CorpusError(
                f"the transformation must give the same columns for every table:\n{self._schema}\nbefore, and now\n"
                f"{table.schema}"
            )
        return table

    # ---- what a shard was made from --------------------------------------------------------------------------------

    def _note(self, shard: Shard) -> dict[str, Any]:
        return {
            "run": self._run,
            "files": [_version(source) for source in self._sources[shard.begin.file : shard.end.file + 1]],
            "begin": shard.begin,
            "end": shard.end,
            "position": shard.position,
            "summary": shard.summary.to_json(),
        }

    def _read(self, number: int) -> Shard | None:
        """``None`` for a shard that breaks off."""
        name = self._shard_name(number)
        with self._fs.open(name, "rb") as file:
            try:
                parquet = pq.ParquetFile(file)
            except BROKEN_FILE:
                return None
            metadata, schema = parquet.metadata.metadata or {}, parquet.schema_arrow
        if NOTE not in metadata:
            raise CorpusError(f"{name} was written by something else: give another folder")
        note = json.loads(metadata[NOTE])
        self._check_run(name, note)
        self._schema = schema.remove_metadata()
        begin, end = Cursor(*note["begin"]), Cursor(*note["end"])
        return Shard(begin, end, note["position"], Summary.from_json(note["summary"]))

    def _check_run(self, name: str, note: dict[str, Any]) -> None:
        """What an earlier version did not note counts as another setting: nobody knows that it was the same."""
        changes = differences(note["run"], self._run)
        if changes:
            now = [_version(source) for source in self._sources]
            changed = [f"{version[0]} has changed since" for version in note["files"] if version not in now]
            raise CorpusError(
                f"{name} is of another run: {'; '.join([*changed[:1], *changes])}. "
                "Give another folder, or the same files and settings to go on here"
            )


def _version(source: Source) -> list[str | int]:
    return [source.name, source.size, source.stamp]


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables put together to what reads and compresses well, however small the batches are."""
    waiting: list[pa.Table] = []
    weight = 0
    for table in tables:
        waiting.append(table)
        weight += table.nbytes
        if weight >= ROW_GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, weight = [], 0
    if waiting:
        yield pa.concat_tables(waiting)
