"""A corpus, transformed, as a folder of Parquet shards: whole or not there, and resumed where a run ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from fastmask.corpus.problems import settle, warn_if_all
from fastmask.corpus.records import START, Problem, RecordReader, Records
from fastmask.corpus.shard_folder import Shard, ShardFolder
from fastmask.corpus.summary import Summary
from fastmask.errors import CorpusError, InputError

__all__ = ["write_shards"]

Transform = Callable[[pa.Table], pa.Table]
Settle = Callable[[pa.Table, Records], tuple[pa.Table, list[Problem]]]  # see problems.settle


def write_shards(
    records: RecordReader,
    transform: Transform,
    out: str | os.PathLike[str],
    *,
    shard_rows: int = 100_000,
    settings: Mapping[str, Any] | None = None,
    resume: bool = True,
    error: str | None = None,
    progress: bool | None = None,
) -> Summary:
    """Writes ``transform`` of every batch to ``out/part-00000.parquet``, ``part-00001.parquet``, …

    Shard ``k`` holds the records from number ``k * shard_rows`` on, counting those that are left out, so what stands in
    it depends on the corpus and the settings alone. A shard appears once it is complete and on disk; each knows what it
    was made from. A run that is started again, after a kill at any moment, goes on behind the last one: what lies
    before is passed over unread where the format allows, and never transformed again.

    Args:
        records: from :func:`read_records`.
        transform: a table → a table of as many rows, row for row; its columns have the same types for every table.
        out: a folder, or an fsspec URL of one; made if it is not there.
        shard_rows: records of a shard.
        settings: whatever ``transform`` depends on, JSON values by their names, such as :attr:`Annotator.settings`; a
            run with others does not go on here, and is told which.
        resume: ``False``: refuse a folder that holds shards already.
        error: a column of what ``transform`` gives that tells what was wrong with a record, null where nothing was.
            Such records are broken, and treated as ``records`` treats those that cannot be read.
        progress: a bar with rates and what is left, in bytes of the corpus; ``None``: if stderr is a terminal.

    Returns:
        The counts of the whole corpus, those of earlier runs among them. A warning tells where no record is without an
        error.

    Raises:
        CorpusError: a broken record, unless ``records`` skips or keeps them; ``out`` holds shards of other inputs or
            settings, or another run is writing there; ``transform`` fails; a shard cannot be written. What was complete
            before stays.
        InputError: ``shard_rows`` is out of range.
    """
    if shard_rows < 1:
        raise InputError(f"shard_rows must be at least 1, got {shard_rows}")
    folder = ShardFolder(out, records, {"shard rows": shard_rows, **(settings or {})})
    total = Summary()
    with folder.held():
        done = folder.done(resume)
        for shard in done:
            total.add(shard.summary)
        start, position = (done[-1].end, done[-1].position) if done else (START, 0)
        with _Progress(records.size, position, progress) as bar:
            for number, batches in _by_shard(records.batches(start, shard_rows), shard_rows, len(done)):
                shard = Shard(start, start, position)
                folder.write(
                    number,
                    _transformed(
                        batches, transform, partial(settle, on_error=records.on_error, error=error), shard, bar
                    ),
                    shard,
                )
                total.add(shard.summary)
                start, position = shard.end, shard.position
    warn_if_all(total.errors, total.read, total.problems[0] if total.problems else "")
    return total


def _by_shard(batches: Iterator[Records], shard_rows: int, first: int) -> Iterator[tuple[int, Iterator[Records]]]:
    read = 0

    def number(batch: Records) -> int:
        nonlocal read
        begin, read = read, read + batch.read
        return first + begin // shard_rows

    return groupby(batches, number)


def _transformed(
    batches: Iterator[Records], transform: Transform, settled: Settle, shard: Shard, bar: _Progress
) -> Iterator[pa.Table]:
    """What is to be written of each batch; ``shard`` learns what became of it."""
    for batch in batches:
        try:
            table = transform(batch.table)
        except Exception as error:
            raise CorpusError(f"{_between(batch)}: cannot be transformed: {error}") from error
        if table.num_rows != batch.table.num_rows:
            raise CorpusError(
                f"{_between(batch)}: the transformation made {table.num_rows:,} rows of {batch.table.num_rows:,}: "
                "it must give one for each"
            )
        table, problems = settled(table, batch)
        yield table  # and once it is written:
        shard.summary.count(batch, table, problems)
        shard.end, shard.position = batch.end, batch.position
        bar.advance(batch, table, problems)


def _between(batch: Records) -> str:
    """The records of a batch by the places of the first and the last."""
    if not len(batch.places):
        return "no records"
    return f"{batch.places[0]} to {batch.places[len(batch.places) - 1]}"


class _Progress:
    """A bar over the bytes of the corpus, whose number is known beforehand, with the rates of what is in them."""

    def __init__(self, size: int, position: int, shown: bool | None) -> None:
        disable = None if shown is None else not shown  # None: tqdm itself looks whether stderr is a terminal
        self._bar = tqdm(total=size, initial=position, unit="B", unit_scale=True, disable=disable)
        self._began = time.monotonic()
        self._seen = Summary()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, batch: Records, written: pa.Table, problems: list[Problem]) -> None:
        self._seen.count(batch, written, problems)
        seconds = max(time.monotonic() - self._began, 1e-9)
        rates = {"records": self._seen.read / seconds, "tokens": self._seen.tokens / seconds}
        self._bar.set_postfix_str(", ".join(f"{rate:,.0f} {of}/s" for of, rate in rates.items()), refresh=False)
        self._bar.update(batch.position - self._bar.n)
