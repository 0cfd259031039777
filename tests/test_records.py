"""Records read from files, against the standard library's own readers and against what was written."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import subprocess
import sys
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

from fastmask.corpus import read_records  # noqa: E402
from fastmask.corpus.records import Cursor  # noqa: E402


def rows(paths: Any, **options: Any) -> list[dict[str, Any]]:
    """Every record, after a check that counts, places and columns are consistent."""
    reader = read_records(paths, **options)
    found = []
    for batch in reader:
        assert batch.table.schema.equals(reader.schema)
        assert len(batch.places) == batch.table.num_rows
        left_out = len(batch.problems) if options.get("on_error") == "skip" else 0
        assert batch.read == batch.table.num_rows + left_out
        found += batch.table.to_pylist()
    return found


def places(paths: Any, **options: Any) -> list[str]:
    """By file name, the place of every row."""
    return [
        str(batch.places[row]).rpartition("/")[2]
        for batch in read_records(paths, **options)
        for row in range(len(batch.places))
    ]


def problems(paths: Any, **options: Any) -> list[str]:
    return [
        str(problem).rpartition("/")[2]
        for batch in read_records(paths, on_error="skip", **options)
        for problem in batch.problems
    ]


def written(path: Path, data: bytes | str) -> str:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


# ---- JSONL ----------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "text", "é", "a.b", ""])
WHOLE = st.integers(-(2**53), 2**53)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
COLUMNS = st.recursive(
    st.sampled_from([TEXT, WHOLE, st.booleans(), st.one_of(WHOLE, st.floats(allow_nan=False))]),
    lambda inner: st.one_of(
        inner.map(lambda value: st.lists(st.none() | value, max_size=3)),
        st.dictionaries(NAMES, inner, min_size=1, max_size=3).map(
            lambda fields: st.fixed_dictionaries({name: st.none() | value for name, value in fields.items()})
        ),
    ),
    max_leaves=4,
)


@st.composite
def corpora(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Records whose columns have one type each, some of them missing or null."""
    columns = draw(st.dictionaries(NAMES, COLUMNS, min_size=1, max_size=4))
    record = st.fixed_dictionaries({}, optional={name: st.none() | value for name, value in columns.items()})
    return draw(st.lists(record, min_size=1, max_size=12))


@given(corpora(), st.integers(1, 5), st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\r\n"]))
def test_json_records_come_back_as_the_json_module_reads_them(tmp_path_factory, corpus, batch_size, ascii, end):
    if not any(corpus):
        corpus = [*corpus, {"a": 1}]
    path = tmp_path_factory.getbasetemp() / "round.jsonl"
    data = end.join(json.dumps(record, ensure_ascii=ascii) for record in corpus)
    written(path, data)
    names = list(dict.fromkeys(name for record in corpus for name in record))
    expected = [{name: record.get(name) for name in names} for record in corpus]
    assert rows(path, batch_size=batch_size) == expected


def test_only_newlines_end_a_line(tmp_path):
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh"
    path = written(tmp_path / "a.jsonl", json.dumps({"t": text}, ensure_ascii=False).replace("\\r", "\\r") + "\n")
    assert rows(path) == [{"t": text}]
    path = written(tmp_path / "a.txt", text.replace("\r", "") + "\nnext")
    assert rows(path) == [{"text": text.replace("\r", "")}, {"text": "next"}]


def test_places_count_lines_and_records(tmp_path):
    path = written(tmp_path / "a.jsonl", '\ufeff{"a": 1}\r\n\r\n{"a": 2}\n   \n\n{"a": 3}')
    for batch_size in (1, 2, 10):
        assert rows(path, batch_size=batch_size) == [{"a": 1}, {"a": 2}, {"a": 3}]
        expected = ["a.jsonl:1 (record 0)", "a.jsonl:3 (record 1)", "a.jsonl:6 (record 2)"]
        assert places(path, batch_size=batch_size) == expected


BROKEN = {
    b'{"a": 1': "expected a JSON object, found",
    b'{"a": 1} {"a": 2}': "Extra data",
    b"null": "expected a JSON object, found null",
    b'["a"]': "expected a JSON object, found",
    b"17": "expected a JSON object, found 17",
    b'{"a": 1, "a": 2}': "the key 'a' stands twice",
    b'{"t": "\xff"}': "expected UTF-8, found byte(s) ff behind byte 7",
    b'{"t": "\\ud800"}': "expected text, found half of a surrogate pair",
    b'{"a": 1.5}': "a should be int64, found a fraction",
    b'{"a": 1.0}': "a should be int64, found a fraction",
    b'{"a": true}': "a should be int64, found true or false",
    b'{"a": "1"}': "a should be int64, found text",
    b'{"a": 9223372036854775808}': "too large",
    b'{"t": 1}': "t should be string, found a whole number",
    b'{"s": {"y": 1}}': "the key s.y is new",
    b'{"s": {"x": "1"}}': "s.x should be int64, found text",
    b'{"s": [1]}': "s should be struct",
    b'{"l": [[1, "2"]]}': "l[][] should be int64, found text",
    b'{"new": 1}': "the column 'new' is new",
    b"[" * 100_000: "nested too deeply",
    b'{"a": ' + b"1" * 5_000 + b"}": "expected a JSON object",
}
GOOD = b'{"a": 1, "t": "x", "s": {"x": 1}, "l": [[1]]}'
GOOD_ROW = {"a": 1, "t": "x", "s": {"x": 1}, "l": [[1]]}


@pytest.mark.parametrize(("line", "message"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_broken_record_is_named_skipped_or_kept(tmp_path, line, message):
    path = written(tmp_path / "a.jsonl", b"\n".join([GOOD, b"", GOOD, line, GOOD]))
    with pytest.raises(fm.CorpusError) as raised:
        rows(path, sample=2)
    assert f"{path}:4 (record 2): " in str(raised.value)
    assert message in str(raised.value)

    assert rows(path, sample=2, on_error="skip") == [GOOD_ROW] * 3
    assert places(path, sample=2, on_error="skip")[-1] == "a.jsonl:5 (record 3)"
    (problem,) = problems(path, sample=2)
    assert problem.startswith("a.jsonl:4 (record 2): ")
    assert message in problem

    kept = rows(path, sample=2, on_error="keep")
    assert [row.pop("error") is None for row in kept] == [True, True, False, True]
    assert kept == [GOOD_ROW, GOOD_ROW, dict.fromkeys(GOOD_ROW), GOOD_ROW]


@given(st.lists(st.sampled_from([GOOD, *list(BROKEN)[:12]]), max_size=20), st.integers(1, 7))
def test_counts_add_up_whatever_is_broken(tmp_path_factory, lines, batch_size):
    path = written(tmp_path_factory.getbasetemp() / "mixed.jsonl", b"\n".join([GOOD, *lines]))
    options: dict[str, Any] = {"sample": 1, "batch_size": batch_size}
    whole = [True] + [line == GOOD for line in lines]
    assert [row["error"] is None for row in rows(path, on_error="keep", **options)] == whole
    assert rows(path, on_error="skip", **options) == [GOOD_ROW] * sum(whole)
    lines_named = [int(problem.split(":")[1].split()[0]) for problem in problems(path, **options)]
    assert lines_named == [number for number, good in enumerate(whole, 1) if not good]


def test_types_are_those_of_the_first_records(tmp_path):
    path = written(tmp_path / "a.jsonl", '{"n": null, "f": 1, "l": []}\n{"f": 0.5, "e": {}}\n{"n": "x", "l": ["y"]}\n')
    reader = read_records(path, sample=2)
    assert reader.schema == pa.schema(
        [("n", pa.string()), ("f", pa.float64()), ("l", pa.list_(pa.string())), ("e", pa.string())]
    )
    assert rows(path, sample=2) == [
        {"n": None, "f": 1.0, "l": [], "e": None},
        {"n": None, "f": 0.5, "l": None, "e": "{}"},
        {"n": "x", "f": None, "l": ["y"], "e": None},
    ]


def test_columns_that_vary_can_be_kept_as_json_text(tmp_path):
    path = written(tmp_path / "a.jsonl", '{"s": {"type": "object"}}\n{"s": {"type": ["é"]}}\n{"s": "x"}\n{"s": true}\n')
    with pytest.raises(fm.CorpusError, match=r"a.jsonl:2 .*s.type should be string.*columns=\{'s': pa.string\(\)\}"):
        rows(path)
    found = rows(path, columns={"s": pa.string()})
    assert [row["s"] for row in found] == ['{"type": "object"}', '{"type": ["é"]}', "x", "true"]


def test_deep_nesting_is_a_broken_record_at_most(tmp_path):
    """Python's own limit lies somewhere there, at another depth for reading, looking at and writing."""
    for depth in (60, 100, *range(900, 1_000), 100_000):
        path = written(tmp_path / "a.jsonl", f'{{"a": {"[" * depth}1{"]" * depth}}}\n{{"a": null, "b": 1}}')
        for columns in ({}, {"a": pa.string()}):
            *deep, last = rows(path, on_error="skip", columns=columns)
            assert last == {"a": None, "b": 1}
            assert depth != 100 or len(deep) == len(columns)  # as JSON text it may stay


def test_batches_of_long_records_are_short(tmp_path, monkeypatch):
    monkeypatch.setattr("fastmask.corpus.row_files.BATCH_BYTES", 100)
    lines = written(tmp_path / "a.jsonl", f'{{"a": "{"x" * 40}"}}\n' * 10)
    table = written(tmp_path / "a.csv", "a\n" + f"{'x' * 40}\n" * 10)
    assert [batch.read for batch in read_records([lines, table])] == [3, 3, 3, 1] * 2
    monkeypatch.setattr("fastmask.corpus.row_files.LONGEST_LINE", 100)
    path = written(tmp_path / "b.txt", "short\n" + "x" * 100 + "\nshort")
    with pytest.raises(fm.CorpusError, match=r"b.txt:2 \(record 1\): the file breaks off: line 2 is longer than 100"):
        rows(path)


def test_a_record_without_any_column_is_told(tmp_path):
    with pytest.raises(fm.CorpusError, match=r"a.jsonl:1 \(record 0\): an object without keys; and no other record"):
        rows(written(tmp_path / "a.jsonl", "{}\n{}"))
    with pytest.raises(fm.CorpusError, match=r"b.jsonl:1 \(record 0\): .*found null; and no other record"):
        rows(written(tmp_path / "b.jsonl", "null"), on_error="skip")
    assert rows(written(tmp_path / "c.jsonl", "\n\n")) == []


def test_an_annotated_corpus_keeps_what_its_errors_say(tmp_path):
    """Beside what is wrong with its own file now."""
    whole = dict.fromkeys(("input_ids", "start", "states", "verdict", "error_token")) | {"error": None, "n": 1}
    text = "\n".join([json.dumps(whole), json.dumps(whole | {"error": "mine"}), "{"])
    path = written(tmp_path / "a.jsonl", text)
    found = read_records(path, on_error="keep")
    assert found.schema.names == list(whole)
    errors = [row["error"] for row in rows(path, on_error="keep")]
    assert errors[:2] == [None, "mine"]
    assert "JSON object" in errors[2]


def test_an_error_column_is_not_overwritten(tmp_path):
    path = written(tmp_path / "a.jsonl", '{"error": "mine"}')
    with pytest.raises(fm.CorpusError, match=r"'error'.*rename"):
        read_records(path, on_error="keep")
    assert rows(path, on_error="skip") == [{"error": "mine"}]


# ---- CSV, text, CoNLL-U ---------------------------------------------------------------------------------------------

FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6) | st.sampled_from(
    ['"', "a,b", "x\r\ny", "x\ny", "\u2028", ' " ', "\r"]
)


@given(st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(FIELD, min_size=width, max_size=width), min_size=1)))
def test_csv_comes_back_as_it_was_written(tmp_path_factory, table):
    width = len(table[0])
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([[f"c{i}" for i in range(width)], *table])
    path = written(tmp_path_factory.getbasetemp() / "round.csv", buffer.getvalue())
    assert [list(row.values()) for row in rows(path, batch_size=3)] == table


def test_csv_places_and_broken_rows(tmp_path):
    data = b'\xef\xbb\xbfid,t\r\n1,"two\r\nlines"\r\n\r\n2\r\n3,"\xff\n,"\r\n4,"x"y\r\n5,z\r\n6,"open\r\n7,end\r\n'
    path = written(tmp_path / "a.csv", data)
    assert rows(path, on_error="skip") == [{"id": "1", "t": "two\r\nlines"}, {"id": "5", "t": "z"}]
    assert places(path, on_error="skip") == ["a.csv:2 (record 0)", "a.csv:9 (record 4)"]
    found = problems(path)
    expected = [
        "5 (record 1): expected 2 fields",
        "6 (record 2): expected UTF-8",
        "8 (record 3): expected a row of CSV",
    ]
    for problem, start in zip(found, [*expected, "10 (record 5): expected a row of CSV"], strict=True):
        assert problem.startswith(f"a.csv:{start}")


def test_csv_is_text_unless_columns_say_otherwise(tmp_path):
    path = written(tmp_path / "a.csv", "zip,n\n007,1\n008,x\n")
    assert rows(path)[0] == {"zip": "007", "n": "1"}
    assert rows(path, columns={"n": pa.int64()}, on_error="skip") == [{"zip": "007", "n": 1}]
    assert "a.csv:3 (record 1)" in problems(path, columns={"n": pa.int64()})[0]


def test_long_csv_fields_are_read(tmp_path):
    path = written(tmp_path / "a.csv", f"t\n{'x' * 200_000}\n")
    assert len(rows(path)[0]["t"]) == 200_000


def test_csv_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(fm.CorpusError, match=r"a\.csv: two columns have one name"):
        read_records(written(tmp_path / "a.csv", "a,a\n1,2\n"))


def test_text_keeps_empty_lines(tmp_path):
    assert [row["text"] for row in rows(written(tmp_path / "a.txt", "a\r\n\n b \nc"))] == ["a", "", " b ", "c"]
    assert rows(written(tmp_path / "b.txt", "")) == []


SENTENCE = """# sent_id = s1
# text = I don't.
1\tI\tI\tPRON\t_\t_\t_\t_\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\t_\t_\t_\t_\t_\t_
3\tn't\tnot\tPART\t_\t_\t_\t_\t_\t_
3.1\tgo\tgo\tVERB\t_\t_\t_\t_\t_\t_
4\t.\t.\tPUNCT\t_\t_\t_\t_\t_\t_
"""


def test_conllu_sentences(tmp_path):
    path = written(tmp_path / "a.conllu", f"{SENTENCE}\n\n# sent_id = broken\n1\tno\n\n1\tHm\t_\t_" + "\t_" * 6)
    first, second = rows(path, on_error="skip")
    words = [("I", "PRON"), ("do", "AUX"), ("n't", "PART"), (".", "PUNCT")]
    assert first == {"sent_id": "s1", "text": "I don't.", "words": [{"form": f, "upos": u} for f, u in words]}
    assert (second["sent_id"], second["text"]) == (None, "Hm")
    assert places(path, on_error="skip") == ["a.conllu:1 (record 0)", "a.conllu:14 (record 2)"]
    assert problems(path)[0].startswith("a.conllu:11 (record 1): expected ten columns on line 12")


# ---- Parquet, Arrow, datasets ---------------------------------------------------------------------------------------

TABLE = pa.table({"id": range(5_000), "t": [f"text {i} {i * i}" for i in range(5_000)]})


def parquet(path: Path, table: Any = TABLE, **options: Any) -> str:
    pq.write_table(table, path, row_group_size=1_000, write_page_checksum=True, **options)
    return str(path)


def arrow(path: Path, new: Any) -> str:
    with pa.OSFile(str(path), "wb") as file, new(file, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=1_000)
    return str(path)


def saved(path: Path) -> str:
    datasets.Dataset(TABLE).save_to_disk(path, num_shards=3)
    return str(path)


WRITERS = {
    "parquet": lambda folder: parquet(folder / "a.parquet"),
    "file": lambda folder: arrow(folder / "a.arrow", pa.ipc.new_file),
    "stream": lambda folder: arrow(folder / "a.arrow", pa.ipc.new_stream),
    "dataset": lambda folder: saved(folder / "saved"),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_tables_come_back(tmp_path, write):
    path = write(tmp_path)
    assert rows(path, batch_size=700) == TABLE.to_pylist()
    assert places(path, batch_size=700)[4_321].endswith(" (record 4,321)")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_reading_on_from_anywhere(tmp_path, write):
    reader = read_records(write(tmp_path), batch_size=300)
    for start in (0, 1, 999, 1_000, 1_001, 4_999, 5_000):
        found = [batch.table for batch in reader.batches(Cursor(0, start))]
        assert pa.concat_tables([TABLE.schema.empty_table(), *found]).equals(TABLE.slice(start))


def test_a_broken_row_group_takes_no_other_with_it(tmp_path):
    path = Path(parquet(tmp_path / "a.parquet", compression="none", use_dictionary=False))
    path.write_bytes(path.read_bytes().replace(b"text 2500 ", b"tXxt 2500 "))  # which a checksum alone can tell
    with pytest.raises(fm.CorpusError, match=r"a.parquet \(record 2,000\): the file is broken"):
        rows(path)
    whole = [row for row in TABLE.to_pylist() if not 2_000 <= row["id"] < 3_000]
    assert rows(path, on_error="skip", batch_size=300) == whole
    assert len(problems(path)) == 1_000
    kept = rows(path, on_error="keep")
    assert [number for number, row in enumerate(kept) if row["error"]] == list(range(2_000, 3_000))
    rest = read_records(path, on_error="skip").batches(Cursor(0, 2_400))
    assert sum(batch.read for batch in rest) == 2_600


@pytest.mark.parametrize("kept", [0, 4, 50, 0.5, -1, -8])
@pytest.mark.parametrize("write", list(WRITERS.values())[:3], ids=list(WRITERS)[:3])
def test_tables_that_break_off(tmp_path, write, kept):
    """Nothing is read as if it were all; a stream gives what lies before."""
    path = Path(write(tmp_path))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    other = written(tmp_path / "b.jsonl", '{"id": 7}\n')
    with pytest.raises(fm.CorpusError, match=r"/a\.\w+ \(record [\d,]+\): the file is broken"):
        rows([path, other])
    found = rows([path, other], on_error="skip")
    assert found.pop()["id"] == 7
    assert found == TABLE.to_pylist()[: len(found)]
    assert len(problems([path, other])) == 1


def test_parquet_text_that_is_not_utf8(tmp_path):
    table = pa.table({"t": pa.array([b"good", b"b\xffd", b"fine"]).view(pa.string())})
    path = parquet(tmp_path / "a.parquet", table)
    assert rows(path, on_error="skip") == [{"t": "good"}, {"t": "fine"}]
    assert problems(path)[0].startswith("a.parquet (record 1): ")


def test_columns_of_all_files_together(tmp_path):
    paths = [
        parquet(tmp_path / "a.parquet", pa.table({"a": pa.array([1], pa.int32()), "n": pa.nulls(1)})),
        parquet(tmp_path / "b.parquet", pa.table({"n": ["x"], "a": pa.array([2**40])})),
        written(tmp_path / "c.csv", "n\n3\n"),
        written(tmp_path / "d.jsonl", '{"a": 4, "new": [1]}'),
    ]
    assert rows(paths) == [
        {"a": 1, "new": None, "n": None},
        {"a": 2**40, "new": None, "n": "x"},
        {"a": None, "new": None, "n": "3"},
        {"a": 4, "new": [1], "n": None},
    ]
    clash = parquet(tmp_path / "e.parquet", pa.table({"a": ["text"]}))
    with pytest.raises(fm.CorpusError, match=r"e.parquet: its columns do not go with.*int64 vs string"):
        read_records([*paths, clash])


def test_numbers_that_would_be_rounded_are_refused(tmp_path):
    paths = [
        parquet(tmp_path / "a.parquet", pa.table({"a": [1, 2**53 + 1]})),
        parquet(tmp_path / "b.parquet", pa.table({"a": [0.5]})),
    ]
    assert rows(paths, on_error="skip") == [{"a": 1.0}, {"a": 0.5}]
    assert problems(paths)[0].startswith("a.parquet (record 1): Integer value 9007199254740993")


# ---- compressed files -----------------------------------------------------------------------------------------------


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESSORS = {".gz": gzip.compress, ".bz2": lambda data: bz2.compress(data, 1), ".xz": lzma.compress, ".zst": zstd}
LINES = "".join(f'{{"a": {i * i}}}\n' for i in range(50_000)).encode()


@pytest.mark.parametrize(("suffix", "compress"), COMPRESSORS.items(), ids=COMPRESSORS)
def test_compressed_files(tmp_path, suffix, compress):
    one, two = compress(LINES), compress(b'{"a": -1}')
    path = written(tmp_path / f"a.jsonl{suffix}", one + two)  # files put together, as `cat` does it
    assert [row["a"] for row in rows(path)] == [*(i * i for i in range(50_000)), -1]

    path = written(tmp_path / f"b.jsonl{suffix}", one[: len(one) * 2 // 3])
    with pytest.raises(fm.CorpusError, match=r"b.jsonl\.\w+:\d+ \(record [\d,]+\): the file breaks off"):
        rows(path)
    found = rows(path, on_error="skip")
    assert [row["a"] for row in found] == [i * i for i in range(len(found))]
    assert len(problems(path)) == 1
    if suffix == ".gz":  # the library gives every whole line
        with pytest.raises(EOFError), gzip.open(path) as stream:
            for count, _ in enumerate(stream, 1):  # noqa: B007
                pass
        assert len(found) == count


def test_a_last_line_without_its_compression_s_end_is_read(tmp_path):
    path = written(tmp_path / "a.jsonl.gz", gzip.compress(LINES)[:-8])
    assert len(rows(path, on_error="skip")) == 50_000
    assert len(problems(path)) == 1


# ---- which files ----------------------------------------------------------------------------------------------------


def test_files_globs_folders_and_urls(tmp_path):
    for name, value in {"b.jsonl": 2, "a.jsonl": 1, "sub/c.jsonl": 3, ".hidden": 9, "_SUCCESS": 9}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path / name, f'{{"a": {value}}}\n')
    memory = fsspec.filesystem("memory")
    memory.pipe("/corpus/x.jsonl", b'{"a": 4}')
    memory.pipe("/corpus/y.jsonl.gz", gzip.compress(b'{"a": 5}'))

    def values(paths: Any) -> list[int]:
        return [row["a"] for row in rows(paths)]

    assert values(tmp_path) == [1, 2, 3]
    assert values(f"{tmp_path}/*.jsonl") == [1, 2]
    assert values(f"{tmp_path}/**/*.jsonl") == [1, 2, 3]
    assert values([tmp_path / "b.jsonl", f"file://{tmp_path}/a.jsonl"]) == [2, 1]
    assert values(["memory://corpus", tmp_path / "sub"]) == [4, 5, 3]
    assert values("memory://corpus/*.gz") == [5]
    assert places("memory://corpus/y.jsonl.gz") == ["y.jsonl.gz:1 (record 0)"]
    memory.rm("/corpus", recursive=True)


def test_every_format_over_a_url(tmp_path):
    memory = fsspec.filesystem("memory")
    for name in ("a.parquet", "b.arrow"):
        local = WRITERS["parquet" if name.endswith("t") else "stream"](tmp_path)
        memory.put_file(local, f"/tables/{name}")
        assert rows(f"memory://tables/{name}") == TABLE.to_pylist()
    memory.rm("/tables", recursive=True)


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        ("nowhere.jsonl", {}, "nowhere.jsonl: there is no such file"),
        ("none*.jsonl", {}, "none[*].jsonl: there is no such file, and no glob"),
        ([], {}, "no files were given"),
        ("a.json", {}, "a.json: the format cannot be told.*jsonl, csv, text"),
        ("plain", {}, "plain: the format cannot be told"),
        ("a.parquet.gz", {}, "the format cannot be told"),
        (["a.json", "./a.json"], {"format": "jsonl"}, "a.json is named twice"),
        ("a.json", {"format": "xml"}, "format='xml' is unknown: it must be one of jsonl"),
        ("s4://bucket/a.jsonl", {}, "s4://bucket/a.jsonl cannot be listed: .*s4"),
        ("splits", {}, "several splits.*splits/train"),
    ],
)
def test_paths_that_mean_nothing(tmp_path, monkeypatch, paths, options, message):
    monkeypatch.chdir(tmp_path)
    for name in ("a.json", "plain", "a.parquet.gz"):
        written(tmp_path / name, "{}")
    datasets.DatasetDict(train=datasets.Dataset(TABLE)).save_to_disk(tmp_path / "splits")
    with pytest.raises(fm.CorpusError, match=message):
        read_records(paths, **options)


def test_a_given_format_counts_more_than_the_name(tmp_path):
    assert rows(written(tmp_path / "a.json", '{"a": 1}'), format="jsonl") == [{"a": 1}]
    assert rows(written(tmp_path / "a.jsonl", '{"a": 1}'), format="text") == [{"text": '{"a": 1}'}]


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"sample": 0}, {"on_error": "ignore"}])
def test_options_out_of_range(tmp_path, options):
    with pytest.raises(fm.InputError):
        read_records(written(tmp_path / "a.jsonl", "{}"), **options)


def test_a_store_that_fails_is_no_broken_record(tmp_path, monkeypatch):
    path = written(tmp_path / "a.jsonl.gz", gzip.compress(LINES))
    reader = read_records(path, on_error="skip")

    def fail(*_: object) -> bytes:
        raise ConnectionError("connection reset by peer")

    monkeypatch.setattr(fsspec.implementations.local.LocalFileOpener, "read", fail, raising=False)
    with pytest.raises(fm.CorpusError, match=r"a.jsonl.gz cannot be read any further: connection reset"):
        list(reader)


# ---- any size -------------------------------------------------------------------------------------------------------

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")

# Not getrusage's peak, which a process takes over from the one that started it.
PEAK = """
import sys
from fastmask.corpus import read_records
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
reader = read_records(sys.argv[1])
before = peak()
print(sum(batch.read for batch in reader), peak() - before)
"""


def growth(path: Path) -> tuple[int, int]:
    """Records read, and KiB by which the peak of memory grew while they were."""
    environment = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry)}
    ended = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True, env=environment
    )
    read, grown = ended.stdout.split()
    return int(read), int(grown)


def large_jsonl(path: Path, records: int) -> Path:
    lines = (json.dumps({"id": 123456, "text": "word " * 60, "tags": ["a", "b"]}) + "\n") * 1_000
    with path.open("w") as file:
        for _ in range(records // 1_000):
            file.write(lines)
    return path


def large_parquet(path: Path, records: int) -> Path:
    """One row group: all that a careless reader holds at once."""
    words = [random.Random(i).randbytes(300).hex() for i in range(1_000)]
    table = pa.table({"text": words * (records // 1_000)})
    pq.write_table(table, path, row_group_size=records, use_dictionary=False, compression="none")
    return path


@needs_proc
@pytest.mark.parametrize("write", [large_jsonl, large_parquet])
def test_memory_does_not_grow_with_the_corpus(tmp_path, write):
    """10⁵ records are 35 and 60 MB in the file and several times that in memory; what a few batches need is half."""
    read, grown = growth(write(tmp_path / f"a.{write.__name__.partition('_')[2]}", 100_000))
    assert read == 100_000
    assert grown < 100_000


@needs_proc
@pytest.mark.long
def test_memory_does_not_grow_with_ten_million_records(tmp_path):
    read, grown = growth(large_jsonl(tmp_path / "a.jsonl", 10_000_000))
    assert read == 10_000_000
    assert grown < 100_000


def test_half_of_a_surrogate_pair_is_named_with_what_stands_before_it(tmp_path):
    path = written(tmp_path / "a.jsonl", b'{"t": "good"}\n{"t": "a name \\ud83e"}')
    [kept] = [row["error"] for row in rows(path, on_error="keep") if row["error"]]
    assert kept == r"expected text, found half of a surrogate pair, '\ud83e', behind 'a name '"
