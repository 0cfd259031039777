"""Shards: whole or not there, resumed where a run ended, and equal to those of a run that nothing disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
fsspec = pytest.importorskip("fsspec")
datasets = pytest.importorskip("datasets")
pytest.importorskip("conllu")

from fastmask.corpus import Summary, read_records, write_shards  # noqa: E402


def lengths(table: Any) -> Any:
    """As tokens the text's bytes; with it whatever else the record has."""
    ids = [list((text or "").encode()) for text in table["text"].to_pylist()]
    return table.append_column("input_ids", pa.array(ids, pa.list_(pa.int32())))


def corpus(folder: Path, files: int = 3, records: int = 40, broken: tuple[int, ...] = ()) -> Path:
    """JSONL files of numbered records; ``broken`` ones count over all files."""
    folder.mkdir(exist_ok=True)
    for file in range(files):
        numbers = range(file * records, (file + 1) * records)
        lines = ["{" if n in broken else json.dumps({"n": n, "text": "x" * (n % 7)}) for n in numbers]
        (folder / f"{file}.jsonl").write_text("\n".join(lines))
    return folder


def shards(out: Any) -> list[str]:
    fs, path = fsspec.core.url_to_fs(str(out))
    return sorted(name.rpartition("/")[2] for name in fs.ls(path, detail=False))


def tables(out: Any) -> dict[str, Any]:
    fs, path = fsspec.core.url_to_fs(str(out))
    return {name: pq.read_table(fs.open(f"{path}/{name}"), partitioning=None) for name in shards(out)}


def numbers(out: Any) -> list[int]:
    return [n for table in tables(out).values() for n in table["n"].to_pylist()]


class Counted:
    """A transformation that knows how many rows it was given, and can be told to fail at one of them."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.rows, self.fail_at = 0, fail_at

    def __call__(self, table: Any) -> Any:
        if self.fail_at is not None and self.fail_at in table["n"].to_pylist():
            raise RuntimeError("out of luck")
        self.rows += len(table)
        return lengths(table)


def test_every_record_is_in_its_shard(tmp_path):
    reader = read_records(corpus(tmp_path / "in"), batch_size=7)
    summary = write_shards(reader, lengths, tmp_path / "out", shard_rows=50)
    assert [len(table) for table in tables(tmp_path / "out").values()] == [50, 50, 20]
    assert shards(tmp_path / "out") == [f"part-0000{i}.parquet" for i in range(3)]
    assert numbers(tmp_path / "out") == list(range(120))
    assert summary == Summary(read=120, written=120, tokens=sum(n % 7 for n in range(120)), shards=3)
    assert pq.read_metadata(tmp_path / "out" / "part-00000.parquet").row_group(0).column(0).compression == "ZSTD"
    again = [row for batch in read_records(tmp_path / "out") for row in batch.table.to_pylist()]
    assert again == datasets.Dataset.from_parquet(f"{tmp_path}/out/*.parquet").to_list()


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sets(st.integers(0, 30), max_size=5),
    st.sampled_from(["skip", "keep"]),
    st.integers(0, 40),
)
def test_what_a_shard_holds_depends_on_no_batch_and_no_stop(
    tmp_path_factory, sizes, batch_size, shard_rows, broken, on_error, fail_at
):
    folder = tmp_path_factory.mktemp("any")
    (folder / "in").mkdir()
    number = 0
    for file, size in enumerate(sizes):
        lines = ["?" if n in broken else json.dumps({"n": n, "text": "é"}) for n in range(number, number + size)]
        (folder / "in" / f"{file}.jsonl").write_text("\n".join(lines))
        number += size
    whole = [n for n in range(number) if n not in broken]
    if not whole:
        return

    def read(batch_size: int) -> Any:
        return read_records(folder / "in", batch_size=batch_size, on_error=on_error)

    expected = write_shards(read(1_000), lengths, folder / "one", shard_rows=shard_rows)
    try:
        write_shards(read(batch_size), Counted(fail_at), folder / "two", shard_rows=shard_rows)
    except fm.CorpusError:
        assert fail_at in whole
    found = write_shards(read(batch_size), lengths, folder / "two", shard_rows=shard_rows)

    assert found == expected
    assert found.read == number == found.written + found.skipped
    assert found.errors == len(broken & set(range(number)))
    assert tables(folder / "two") == tables(folder / "one")
    held = [n // shard_rows for n in range(number) if on_error == "keep" or n in whole]
    assert [len(table) for table in tables(folder / "one").values()] == [
        held.count(shard) for shard in range(-(-number // shard_rows))
    ]
    assert [n for n in numbers(folder / "one") if n is not None] == whole


# ---- going on -------------------------------------------------------------------------------------------------------


def test_what_is_done_is_not_transformed_again(tmp_path):
    reader = read_records(corpus(tmp_path / "in"), batch_size=7)
    with pytest.raises(fm.CorpusError, match=r"/2.jsonl:\d+ \(record \d+\) to .*/2.jsonl.*: out of luck"):
        write_shards(reader, Counted(fail_at=110), tmp_path / "out", shard_rows=25)
    assert shards(tmp_path / "out") == [f"part-0000{i}.parquet" for i in range(4)]
    again = Counted()
    assert write_shards(reader, again, tmp_path / "out", shard_rows=25).read == 120
    assert again.rows == 20
    assert numbers(tmp_path / "out") == list(range(120))
    nothing = Counted()
    assert write_shards(reader, nothing, tmp_path / "out", shard_rows=25).written == 120
    assert nothing.rows == 0


def test_a_gap_is_filled(tmp_path):
    reader = read_records(corpus(tmp_path / "in"))
    write_shards(reader, lengths, tmp_path / "out", shard_rows=25)
    before = tables(tmp_path / "out")
    (tmp_path / "out" / "part-00001.parquet").unlink()
    damaged = tmp_path / "out" / "part-00003.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    write_shards(reader, lengths, tmp_path / "out", shard_rows=25)
    assert tables(tmp_path / "out") == before


def test_problems_are_listed_up_to_a_hundred_and_survive_a_stop(tmp_path):
    broken = tuple(range(0, 3_000, 15))
    source = corpus(tmp_path / "in", records=1_000, broken=broken)
    reader = read_records(source, on_error="skip", batch_size=70)
    summary = write_shards(reader, lengths, tmp_path / "out", shard_rows=400)
    assert (summary.read, summary.written, summary.skipped, summary.errors) == (3_000, 2_800, 200, 200)
    assert [problem.place.record for problem in summary.problems] == [n % 1_000 for n in broken[:100]]
    assert str(summary.problems[1]).startswith(f"{source}/0.jsonl:16 (record 15): expected a JSON object")
    for number in (3, 4, 5, 6, 7):
        (tmp_path / "out" / f"part-0000{number}.parquet").unlink()
    assert write_shards(reader, lengths, tmp_path / "out", shard_rows=400) == summary


def changed(folder: Path) -> None:
    (folder / "1.jsonl").write_text('{"n": 1, "text": ""}')


def touched(folder: Path) -> None:
    os.utime(folder / "0.jsonl", (1, 1))


def added(folder: Path) -> None:
    (folder / "9.jsonl").write_text('{"n": 1, "text": ""}')


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (changed, {}, r"1.jsonl has changed since; input files was \"[0-9a-f]{12}…\", is now"),
        (touched, {}, r"0.jsonl has changed since; input files was"),
        (added, {}, r"another run: input files was"),
        (None, {"shard_rows": 60}, r"another run: shard rows was 50, is now 60\. Give another folder, or the same"),
        (None, {"settings": {"of": {"a": 1, "b": "x"}}}, r'another run: of\.b was not there, is now "x"\. Give'),
        (None, {"settings": {"of": {"a": 2}}}, r"another run: of\.a was 1, is now 2\. Give"),
        (None, {"settings": None}, r"another run: of\.a was 1, is now not there\. Give"),
        (None, {"on_error": "skip"}, 'on error was "raise", is now "skip"'),
        (None, {"columns": {"n": pa.float64()}}, r'another run: types\.n was "int64", is now "double"\. Give'),
        (None, {"resume": False}, "holds shards already"),
    ],
)
def test_another_run_s_shards_are_left_alone(
    tmp_path, change: Callable[[Path], None] | None, options: dict[str, Any], message
):
    source = corpus(tmp_path / "in")
    settings: dict[str, Any] = {"shard_rows": 50, "settings": {"of": {"a": 1}}}
    write_shards(read_records(source), lengths, tmp_path / "out", **settings)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in shards(tmp_path / "out")}
    if change:
        change(source)
    reading = {key: options.pop(key) for key in ("on_error", "columns") if key in options}
    with pytest.raises(fm.CorpusError, match=message):
        write_shards(read_records(source, **reading), lengths, tmp_path / "out", **(settings | options))
    assert before == {name: (tmp_path / "out" / name).read_bytes() for name in shards(tmp_path / "out")}


def test_a_foreign_shard_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "out" / "part-00000.parquet")
    with pytest.raises(fm.CorpusError, match=r"part-00000.parquet was written by something else"):
        write_shards(read_records(corpus(tmp_path / "in")), lengths, tmp_path / "out")


def test_shards_are_not_written_among_their_sources(tmp_path):
    source = corpus(tmp_path / "in")
    with pytest.raises(fm.CorpusError, match=r"0.jsonl is a part of the corpus.*write elsewhere"):
        write_shards(read_records(source), lengths, source)


@pytest.mark.skipif(os.name != "posix", reason="locks of folders")
def test_two_runs_at_once_do_not_mix_their_shards(tmp_path):
    """Each by itself would be done, and half of the records be of either."""
    source = corpus(tmp_path / "in")
    other: list[str] = []

    def meanwhile(table: Any) -> Any:
        try:
            write_shards(read_records(source), lengths, tmp_path / "out", shard_rows=60)
        except fm.CorpusError as error:
            other.append(str(error))
        return lengths(table)

    summary = write_shards(read_records(source), meanwhile, tmp_path / "out", shard_rows=50)
    assert other
    assert all(message.startswith("another run is writing to") for message in other)
    assert (summary.read, summary.shards) == (120, 3)
    assert numbers(tmp_path / "out") == list(range(120))
    assert write_shards(read_records(source), lengths, tmp_path / "out", shard_rows=50).read == 120


# ---- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Counted(fail_at=100), r"2.jsonl:1 \(record 0\) to .*: cannot be transformed: out of luck"),
        (lambda table: table.slice(1), r"0.jsonl:1 \(record 0\) to .*: the transformation made 39 rows of 40"),
        (lambda table: {}["missing"], "cannot be transformed: 'missing'"),
        (
            lambda table: table if 0 in table["n"].to_pylist() else table.select(["n"]),
            "(?s)same columns for every table.*text: string",
        ),
        (lambda table: table.append_column("empty", pa.array([{}] * len(table))), "cannot be written.*struct"),
    ],
)
def test_a_transformation_that_fails_leaves_no_shard(tmp_path, monkeypatch, transform, message):
    monkeypatch.setattr("fastmask.corpus.shard_folder.ROW_GROUP_BYTES", 1)  # some of it is in the file by then
    with pytest.raises(fm.CorpusError, match=message):
        write_shards(read_records(corpus(tmp_path / "in")), transform, tmp_path / "out", shard_rows=1_000)
    assert os.listdir(tmp_path / "out") == []


def test_other_columns_than_those_of_an_earlier_run(tmp_path):
    reader = read_records(corpus(tmp_path / "in"))
    write_shards(reader, lengths, tmp_path / "out", shard_rows=40)
    (tmp_path / "out" / "part-00002.parquet").unlink()
    with pytest.raises(fm.CorpusError, match="same columns for every table"):
        write_shards(reader, lambda table: table, tmp_path / "out", shard_rows=40)


def test_an_empty_corpus_makes_no_shard(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n")
    summary = write_shards(read_records(tmp_path / "a.jsonl"), lengths, tmp_path / "out")
    assert (summary.read, summary.shards, os.listdir(tmp_path / "out")) == (0, 0, [])


@pytest.mark.parametrize("shard_rows", [0, -1])
def test_shard_rows_out_of_range(tmp_path, shard_rows):
    with pytest.raises(fm.InputError, match="shard_rows must be at least 1"):
        write_shards(read_records(corpus(tmp_path / "in")), lengths, tmp_path / "out", shard_rows=shard_rows)


def test_an_output_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(fm.CorpusError, match="cannot be made a folder"):
        write_shards(read_records(corpus(tmp_path / "in")), lengths, tmp_path / "out")


def test_a_shard_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (done.append(name), real(*given)))
    write_shards(read_records(corpus(tmp_path / "in")), lengths, tmp_path / "out")
    assert done == ["fsync", "replace", "fsync"]

    def no_replace(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "replace", no_replace)
    with pytest.raises(fm.CorpusError, match=r"part-00000.parquet cannot be written: read-only"):
        write_shards(read_records(tmp_path / "in"), lengths, tmp_path / "other")
    assert os.listdir(tmp_path / "other") == []


def test_object_stores_get_whole_shards_only(tmp_path, monkeypatch):
    memory = fsspec.filesystem("memory")
    reader = read_records(corpus(tmp_path / "in"))
    put = type(memory).put_file
    names: list[str] = []

    def put_two(self: Any, local: str, remote: str, **options: Any) -> None:
        names.append(remote)
        if len(names) == 3:
            raise PermissionError("quota exceeded")
        put(self, local, remote, **options)

    monkeypatch.setattr(type(memory), "put_file", put_two)
    with pytest.raises(fm.CorpusError, match=r"part-00002.parquet cannot be written: quota exceeded. .* complete: 2"):
        write_shards(reader, lengths, "memory://out", shard_rows=50)
    assert shards("memory://out") == ["part-00000.parquet", "part-00001.parquet"]
    assert write_shards(reader, lengths, "memory://out", shard_rows=50).written == 120
    assert numbers("memory://out") == list(range(120))
    memory.rm("/out", recursive=True)


RUN = """
import os, resource, signal, sys
import pyarrow as pa
from fastmask.corpus import read_records, write_shards
source, out, limit, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
calls = 0
def count(frame, event, argument):
    global calls
    calls += 1
    if calls == last:
        os.kill(os.getpid(), signal.SIGKILL)
def lengths(table):
    ids = [list(text.encode()) for text in table["text"].to_pylist()]
    return table.append_column("input_ids", pa.array(ids, pa.list_(pa.int32())))
write_shards(read_records(source), lengths, "memory://warm")  # what is imported when first needed
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.setprofile(count)
written = write_shards(read_records(source, batch_size=20), lengths, out, shard_rows=100).written
sys.setprofile(None)
print(written, calls)
"""


def run(source: Path, out: Path, limit: int = 0, last: int = 0) -> subprocess.CompletedProcess[str]:
    """A run of its own; ``limit``: bytes that a file may have; ``last``: the call at which it is killed."""
    command = [sys.executable, "-c", RUN, str(source), str(out), str(limit), str(last)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def test_killed_at_any_moment_and_started_again(tmp_path):
    """At any call that Python makes, drawn at random; until what is left needs fewer than drawn."""
    source = corpus(tmp_path / "in", files=3, records=200)
    written, calls = map(int, run(source, tmp_path / "whole").stdout.split())
    assert written == 600
    moments = random.Random(7)
    kills = -1
    while kills < 50:
        kills += 1
        ended = run(source, tmp_path / "out", last=moments.randrange(1, calls))
        for path in tmp_path.glob("out/part-*.parquet"):
            assert pq.read_table(path) == pq.read_table(tmp_path / "whole" / path.name), "half a shard with a name"
        if ended.returncode != -signal.SIGKILL:
            break
    assert ended.returncode == 0, ended.stderr
    assert kills >= 3
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")


def test_no_room_leaves_no_half_shard_and_no_noise(tmp_path):
    source = corpus(tmp_path / "in", files=1, records=150)
    with (source / "0.jsonl").open("a") as file:
        text = random.Random(1).randbytes(60_000).hex()
        file.write("\n" + json.dumps({"n": 150, "text": text}))
    ended = run(source, tmp_path / "out", limit=40_000)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("fastmask.errors.CorpusError: ")
    assert "part-00001.parquet cannot be written" in ended.stderr
    assert "Shards before it, all complete: 1." in ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert os.listdir(tmp_path / "out") == ["part-00000.parquet"]
    assert run(source, tmp_path / "out").stdout.split()[0] == "151"


# ---- progress -------------------------------------------------------------------------------------------------------


def test_progress_goes_to_terminals_only(tmp_path, capfd):
    reader = read_records(corpus(tmp_path / "in"))
    write_shards(reader, lengths, tmp_path / "a")
    assert capfd.readouterr() == ("", "")
    write_shards(reader, lengths, tmp_path / "b", progress=True)
    shown = capfd.readouterr().err
    assert "100%" in shown
    assert " records/s, " in shown
    assert " tokens/s" in shown
