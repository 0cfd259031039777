"""Ray Data: the same states as without it, whichever actor makes them and however often it dies."""

from __future__ import annotations

import os
import signal
import sys
import warnings

import numpy as np
import pytest

import fastmask as fm
from tests.cases import SCHEMAS, SENTENCES, answer

pa = pytest.importorskip("pyarrow")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # not ours
    ray = pytest.importorskip("ray", reason="needs the extra: pip install '.[ray]'")
    pytest.importorskip("ray.data")

from fastmask.corpus import Annotator, Columns, Constraints  # noqa: E402
from fastmask.corpus.ray import annotate_with_ray  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # raised within Ray about Ray


@pytest.fixture(scope="module")
def cluster():
    """Two processors, no dashboard; this module's classes travel by value, since actors cannot import tests."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def table(bpe):
    """Answers of every verdict, as texts and as tokens, 300 of them in several chunks."""
    texts = [answer(sentence) for sentence in SENTENCES] + [answer(SENTENCES[0])[:-3], "no", None]
    texts = [texts[row % len(texts)] for row in range(300)]
    ids = [None if text is None else bpe.tokenizer(text)["input_ids"] for text in texts]
    whole = pa.table({"number": range(300), "answer": texts, "ids": pa.array(ids, pa.list_(pa.int32()))})
    return pa.concat_tables([whole[:70], whole[70:71], whole[71:]])


@pytest.fixture(scope="module")
def annotator(bpe):
    return Annotator(fm.Constraint.from_schema(SCHEMAS["article"], bpe.vocabulary), Columns(tokens="ids"))


def blocks_of(table):
    """Six pieces of a table; repartition would want a processor, and the actors have them all."""
    return [table[begin : begin + 50] for begin in range(0, len(table), 50)]


def collected(dataset):
    """All blocks as one table, without the metadata that Ray adds."""
    tables = ray.get(dataset.to_arrow_refs())
    return pa.concat_tables(tables).replace_schema_metadata(None).combine_chunks()


def assert_same(dataset, expected):
    found, expected = collected(dataset), expected.combine_chunks()
    assert found.schema.names == expected.schema.names
    assert found.equals(expected)


def test_the_same_columns_bit_for_bit(cluster, table, annotator):
    dataset = ray.data.from_arrow(blocks_of(table))
    expected = annotator(table)
    assert set(expected["verdict"].to_pylist()) == {"complete", "cut off", "broken", "error"}
    assert_same(annotate_with_ray(dataset, annotator, concurrency=2), expected)
    assert_same(annotate_with_ray(dataset, annotator, concurrency=(1, 2), batch_size=7), expected)
    assert_same(annotate_with_ray(dataset, annotator, batch_size=None), expected)


def test_texts(cluster, table, bpe):
    con = fm.Constraint.from_schema(SCHEMAS["upos"], bpe.vocabulary)
    annotator = Annotator(con, Columns(answer="answer", end=(bpe.eos,)), bpe.tokenizer)
    assert_same(annotate_with_ray(ray.data.from_arrow(table), annotator, concurrency=1), annotator(table))


def test_a_schema_for_each_record(cluster, table, bpe):
    names = pa.array([["article", "upos", "neither"][row % 3] for row in range(len(table))])
    table = table.append_column("schema", names)
    annotator = Annotator(Constraints(bpe.vocabulary, SCHEMAS), Columns(tokens="ids", schema="schema"))
    expected = annotator(table)
    assert len(set(expected["constraint"].to_pylist())) == 3
    dataset = ray.data.from_arrow(blocks_of(table))
    assert_same(annotate_with_ray(dataset, annotator, concurrency=2, batch_size=20), expected)


@pytest.mark.parametrize(
    ("kind", "lengths"), [("ArrowTensorType", (4, 4, 4)), ("ArrowVariableShapedTensorType", (2, 0, 5))]
)
def test_numpy_s_arrays_which_ray_keeps_as_tensors(cluster, small, kind, lengths):
    pandas = pytest.importorskip("pandas")
    rows = [np.arange(length, dtype=np.int32) + 97 for length in lengths]
    con = fm.Constraint.from_regex("[a-c]*", small.vocabulary)
    dataset = ray.data.from_pandas(pandas.DataFrame({"ids": rows}))
    (block,) = ray.get(dataset.to_arrow_refs())
    assert kind in str(block.schema.field("ids").type)
    annotator = Annotator(con, Columns(tokens="ids"))
    found = annotate_with_ray(dataset, annotator, concurrency=1, batch_size=2).take_all()
    assert [record["states"] for record in found] == [con.walk([row])[0].tolist() for row in rows]
    assert [record["input_ids"] for record in found] == [row.tolist() for row in rows]


def test_matrices_are_refused(cluster, annotator):
    dataset = ray.data.from_numpy(np.zeros((3, 2, 2), np.int64)).rename_columns({"data": "ids"})
    with pytest.raises(ray.exceptions.RayTaskError, match=r"'ids' must hold lists of token ids.*Tensor"):
        annotate_with_ray(dataset, annotator, concurrency=1).materialize()


class Unpacked(Annotator):
    """Writes down where it was unpacked, and how many threads each batch may use."""

    folder = None

    def __setstate__(self, state):
        self.__dict__.update(state)
        with open(f"{self.folder}/unpacked", "a") as log:
            log.write(f"{os.getpid()}\n")

    def __call__(self, table):
        with open(f"{self.folder}/called", "a") as log:
            log.write(f"{os.getpid()} {fm.get_num_threads()}\n")
        return super().__call__(table)


def test_each_actor_unpacks_once_and_keeps_to_its_processors(cluster, table, annotator, tmp_path):
    watched = Unpacked(annotator.constraints, annotator.columns)
    watched.folder = str(tmp_path)
    dataset = ray.data.from_arrow(blocks_of(table))
    assert_same(annotate_with_ray(dataset, watched, concurrency=2, batch_size=10, num_cpus=1), annotator(table))
    unpacked = (tmp_path / "unpacked").read_text().split()
    calls = [line.split() for line in (tmp_path / "called").read_text().splitlines()]
    assert len(unpacked) == len(set(unpacked)) <= 2
    assert len(calls) == 30
    assert {process for process, _ in calls} <= set(unpacked)
    assert {threads for _, threads in calls} == {"1"}


class DiesOnce(Annotator):
    """Kills its process in the middle of the corpus, unless that was done before."""

    folder = None

    def __call__(self, table):
        if 150 in table["number"].to_pylist():
            try:
                os.close(os.open(f"{self.folder}/killed", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return super().__call__(table)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(table)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_actor_that_is_killed_leaves_no_trace(cluster, table, annotator, tmp_path, concurrency):
    mortal = DiesOnce(annotator.constraints, annotator.columns)
    mortal.folder = str(tmp_path)
    dataset = ray.data.from_arrow(blocks_of(table))
    assert_same(annotate_with_ray(dataset, mortal, concurrency=concurrency, batch_size=20), annotator(table))
    assert [path.name for path in tmp_path.iterdir()] == ["killed"]


def test_other_data_sets_are_refused(annotator):
    with pytest.raises(fm.InputTypeError, match=r"expected a ray\.data\.Dataset, got list"):
        annotate_with_ray([], annotator)
