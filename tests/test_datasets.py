"""`annotate` on data sets: the annotator's columns, in every format, by any number of processes, and once."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import fastmask as fm
from tests.cases import SCHEMAS, SENTENCES, answer

datasets = pytest.importorskip("datasets")
torch = pytest.importorskip("torch")

from fastmask.corpus import Annotator, Columns, Constraints, annotate  # noqa: E402

A, B, X, EOS = 0, 1, 2, 4
VOCABULARY = fm.Vocabulary([b"a", b"b", b"x", None, None], EOS, size=7)
CON = fm.Constraint.from_regex("[ab]{2,4}", VOCABULARY)
ROWS = [[A, B], [A, X], [A], [], None, [A, B, EOS], [9]] * 3
FEATURES = datasets.Features(
    input_ids=datasets.List(datasets.Value("int32")), label=datasets.ClassLabel(names=["no", "yes"])
)


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    """No bars, and no files outside the test's own folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def dataset():
    labels = [row % 2 for row in range(len(ROWS))]
    return datasets.Dataset.from_dict({"input_ids": ROWS, "label": labels}, features=FEATURES)


def rows_of(dataset):
    """What the annotator itself makes of a data set's records."""
    table = dataset.with_format("arrow")[:]
    return Annotator(CON, Columns(tokens="input_ids"))(table).to_pylist()


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_the_annotator_s_columns(dataset, batch_size):
    found = annotate(dataset, CON, batch_size=batch_size)
    assert found.to_list() == rows_of(dataset)
    assert set(found["verdict"]) == {"complete", "broken", "cut off", "error"}
    assert {name: found.features[name] for name in FEATURES} == FEATURES  # a ClassLabel is one still


def test_no_records(dataset):
    empty = dataset.filter(lambda row: False)
    assert annotate(empty, CON).features == annotate(dataset, CON).features


def test_what_was_annotated_is_annotated_anew(dataset):
    other = fm.Constraint.from_regex("x|[ab]", VOCABULARY)
    read = dataset.filter(lambda row: row["input_ids"] is not None)  # a null has become an empty list by then
    assert annotate(annotate(read, other), CON).to_list() == rows_of(read)


def test_several_processes(dataset):
    assert annotate(dataset, CON, num_proc=2).to_list() == rows_of(dataset)


def test_records_in_another_order(dataset):
    for picked in (dataset.shuffle(seed=3), dataset.select([5, 0, 5]), dataset.shuffle(seed=1).select(range(2, 9))):
        assert annotate(picked, CON).to_list() == rows_of(picked)


@pytest.mark.parametrize("form", [None, "numpy", "torch", "pandas", "arrow"])
def test_the_format_is_kept(dataset, form):
    given = dataset.with_format(form)
    found = annotate(given, CON)
    assert found.format["type"] == given.format["type"]
    assert found.with_format(None).to_list() == rows_of(dataset)
    expected = annotate(dataset, CON).with_format(form)[:4]
    assert type(found[:4]) is type(expected)
    assert str(found[:4]) == str(expected)


def test_a_format_with_options(dataset):
    found = annotate(dataset.with_format("torch", dtype=torch.float32), CON)
    assert found[0]["input_ids"].dtype == found[0]["states"].dtype == torch.float32


def test_a_transform_sees_the_new_columns(dataset):
    given = dataset.with_transform(lambda batch: {"widths": [len(states) for states in batch["states"]]})
    assert annotate(given, CON)[:3] == {"widths": [2, 2, 1]}


def test_format_columns_hide_nothing(dataset):
    found = annotate(dataset.with_format("numpy", columns=["label"]), CON)
    assert {"states", "verdict"} <= set(found[0])


@pytest.mark.parametrize("form", [None, "numpy", "torch"])
def test_streams(dataset, form):
    given = dataset.to_iterable_dataset().with_format(form)
    found = list(annotate(given, CON, batch_size=4))
    expected = list(annotate(dataset, CON).with_format(form))
    assert [sorted(row) for row in found] == [sorted(row) for row in expected]
    for row, wanted in zip(found, expected, strict=True):
        for name in ("input_ids", "states", "start", "error_token"):
            assert type(row[name]) is type(wanted[name])
            np.testing.assert_array_equal(row[name], wanted[name])
        assert all(row[name] == wanted[name] for name in ("verdict", "error", "label"))


def test_a_stream_is_read_when_it_is_asked_for():
    read = []

    def records():
        for number in range(100):
            read.append(number)
            yield {"input_ids": [A, B]}

    stream = annotate(datasets.IterableDataset.from_generator(records), CON, batch_size=10)
    assert read == []
    assert next(iter(stream))["verdict"] == "complete"
    assert len(read) < 100


def test_texts_and_a_schema_for_each_record(bpe):
    texts = [answer(sentence) for sentence in SENTENCES]
    given = datasets.Dataset.from_dict({"answer": texts, "schema": ["upos", "article", "none"]})
    columns = Columns(answer="answer", end=(bpe.eos,), schema="schema")
    found = annotate(given, Constraints(bpe.vocabulary, SCHEMAS), columns, bpe.tokenizer)
    assert found["verdict"] == ["complete", "complete", "error"]
    upos, article = (fm.Constraint.from_schema(SCHEMAS[name], bpe.vocabulary) for name in ("upos", "article"))
    assert found["constraint"] == [upos.fingerprint, article.fingerprint, None]


def test_longer_records_than_allowed(dataset):
    found = annotate(dataset, CON, max_length=2)
    assert found["error"][5] == "3 tokens, more than the 2 allowed"


def test_what_cannot_be_annotated(dataset):
    with pytest.raises(fm.InputTypeError, match="Dataset or IterableDataset, got list"):
        annotate([{"input_ids": [A]}], CON)
    with pytest.raises(fm.InputError, match="no column 'input_ids'; it has 'label'"):
        annotate(dataset.select_columns("label"), CON)
    with pytest.raises(fm.InputError, match="the corpus has 'start', 'states' already"):
        annotate(annotate(dataset, CON).select_columns(["input_ids", "states", "start"]), CON)
    with pytest.raises(fm.InputError, match="num_proc goes with a Dataset"):
        annotate(dataset.to_iterable_dataset(), CON, num_proc=2)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_a_record(dataset, batch_size):
    with pytest.raises(fm.InputError, match=f"batch_size must be at least 1, got {batch_size}"):
        annotate(dataset, CON, batch_size=batch_size)


def test_columns_are_a_columns(dataset):
    for given in ({"tokens": "input_ids"}, {}):
        with pytest.raises(fm.InputTypeError, match=r"expected Columns.*got dict"):
            annotate(dataset, CON, given)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_column_of_another_type_is_named_before_a_record_is_read(dataset, lazy, monkeypatch):
    read = []
    annotated = Annotator.__call__
    monkeypatch.setattr(Annotator, "__call__", lambda self, table: read.append(len(table)) or annotated(self, table))
    data = dataset.to_iterable_dataset() if lazy else dataset
    with pytest.raises(fm.InputTypeError, match="column 'label' must hold text, got int64"):
        annotate(data, CON, Columns(answer="label"), tokenizer=[])
    assert read == [0]


def test_a_data_set_of_nothing_but_errors_is_told():
    wide = datasets.Dataset.from_dict({"input_ids": [[999], [A, 998]]})  # as another tokenizer would number them
    with pytest.warns(UserWarning, match=r"none of the 2 records could be judged.*The first: record 0: token id 999"):
        found = annotate(wide, CON)
    assert found["verdict"][:] == ["error", "error"]


@pytest.mark.filterwarnings("error")
def test_one_record_that_could_be_judged_is_enough():
    some = datasets.Dataset.from_dict({"input_ids": [[999], [A, B]]})
    assert annotate(some, CON)["verdict"][:] == ["error", "complete"]


# ---- the cache ------------------------------------------------------------------------------------------------------

SCRIPT = """
import json, sys
import datasets
import fastmask as fm
from fastmask.corpus import Annotator, Columns, Constraints, annotate
from tests.vocabularies import trained_bpe

folder, what = sys.argv[1:]
datasets.disable_progress_bars()
calls, call = [], Annotator.__call__
Annotator.__call__ = lambda self, table: calls.append(len(table)) or call(self, table)
dataset = datasets.load_from_disk(folder)
if what == "text":
    dataset, bpe = dataset.select_columns("text"), trained_bpe()
    con = fm.Constraint.from_regex("[ab]+", bpe.vocabulary)
    con.allowed(con.walk([[5]]))  # neither masks nor what a tokenizer remembers make a constraint another
    found = annotate(dataset, con, Columns(text="text"), bpe.tokenizer)
    assert bpe.tokenizer("once", padding="max_length", max_length=9, truncation=True)
    again = annotate(dataset, con, Columns(text="text"), bpe.tokenizer)
    assert again._fingerprint == found._fingerprint
else:
    vocabulary = fm.Vocabulary([b"a", b"b", b"x", None, None], 4, size=7)
    constraints = {
        "one": lambda: fm.Constraint.from_regex("[ab]{2,4}", vocabulary),
        "other": lambda: fm.Constraint.from_regex("[ab]{2,5}", vocabulary),
        "schemas": lambda: Constraints(vocabulary, {"flag": {"type": "boolean"}, "text": {"type": "string"}}),
    }[what]()
    columns = Columns(tokens="input_ids", schema="text") if what == "schemas" else None
    found = annotate(dataset, constraints, columns)
print(json.dumps([sum(calls), found._fingerprint, found["verdict"][:]]))
"""


def annotated_elsewhere(folder, what, seed):
    """(records annotated, fingerprint, verdicts) of another process."""
    paths = {"PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder, what],
        env=os.environ | paths | {"HF_DATASETS_OFFLINE": "1", "HF_HOME": f"{folder}/home"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("what", ["one", "schemas", "text"])
def test_another_process_finds_what_was_annotated(tmp_path, what):
    if what == "text":
        pytest.importorskip("transformers")
    rows = {"input_ids": [[A, B], [A], [X]], "text": ["aab", "flag", "c"]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "data")
    first, second = (annotated_elsewhere(str(tmp_path / "data"), what, seed) for seed in (1, 2))
    assert (first[0], second[0]) == (3, 0)
    assert first[1:] == second[1:]


def test_another_constraint_is_annotated_anew(tmp_path):
    datasets.Dataset.from_dict({"input_ids": [[A] * 5, [A]]}).save_to_disk(tmp_path / "data")
    one, other = (annotated_elsewhere(str(tmp_path / "data"), what, 0) for what in ("one", "other"))
    assert (one[0], one[2]) == (2, ["broken", "cut off"])
    assert (other[0], other[2]) == (2, ["complete", "cut off"])
