"""The annotator against a plain loop over records, whatever form Arrow keeps them in."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm
from tests.cases import SCHEMAS, SENTENCES, answer

pa = pytest.importorskip("pyarrow")

from fastmask.corpus import Annotator, Columns, Constraints  # noqa: E402

A, B, AB, X, EOS, SPECIAL = range(6)
VOCABULARY = fm.Vocabulary([b"a", b"b", b"ab", b"x", None, None], EOS, size=7)
CON = fm.Constraint.from_regex("[ab]{2,4}", VOCABULARY)
ID_TYPES = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
ADDED = ["input_ids", "start", "states", "verdict", "error_token", "error"]


# ---- one record by hand -------------------------------------------------------------------------------------------


def by_hand(ids, start, con=CON, max_length=None):
    """What the added columns must hold for a record, and in place of an error what its message must say."""
    error = error_of(ids, start, con.vocab_size, max_length)
    ids = [] if ids is None or None in ids else ids
    index = start_index(ids, start)
    first = len(ids) if index is None else index
    if error is not None:
        return ids, first, [fm.FREE] * len(ids), "error", -1, error
    states = con.walk([ids], start=start)[0].tolist()
    last = states[-1] if states else fm.FREE if index is None else con.initial_state
    broken = states.index(fm.DEAD) if fm.DEAD in states else -1
    if index is None:
        verdict = "unconstrained"
    else:
        verdict = "broken" if broken >= 0 else "complete" if con.is_final(last) else "cut off"
    return ids, first, states, verdict, broken, None


def start_index(ids, start):
    """The first constrained position; None: there is none."""
    if isinstance(start, fm.After):
        return ids.index(start.token_id) + 1 if start.token_id in ids else None
    return 0 if start is None else start


def error_of(ids, start, size, max_length):
    if ids is None or None in ids:
        return "null in column 'ids'"
    if start is None:
        return "null in column 'begin'"
    if max_length is not None and len(ids) > max_length:
        return f"{len(ids)} tokens, more than the {max_length} allowed"
    index = start_index(ids, start)
    if index is not None and not 0 <= index <= len(ids):
        return f"start {index} lies outside 0 … {len(ids)}"
    read = [] if index is None else enumerate(ids[index:], index)
    bad = [(position, token) for position, token in read if not 0 <= token < size]
    return f"token id {bad[0][1]} at position {bad[0][0]} lies outside 0 … {size - 1}" if bad else None


def assert_rows(found, expected):
    """`found`: a table; `expected`: for each record what `by_hand` gives."""
    rows = zip(*(found[name].to_pylist() for name in ADDED), strict=True)
    for number, (row, wanted) in enumerate(zip(rows, expected, strict=True)):
        assert row[:-1] == wanted[:-1], f"record {number}"
        assert (row[-1] is None) == (wanted[-1] is None), f"record {number}: {row[-1]}"
        assert wanted[-1] is None or row[-1].startswith(wanted[-1]), f"record {number}: {row[-1]}"


# ---- tokens in every form that Arrow has for them ------------------------------------------------------------------


@st.composite
def corpora(draw):
    """(ids, start) of each record; some have nulls, ids outside the vocabulary, starts outside the record."""
    token = st.one_of(st.sampled_from([A, B, A, B, AB, EOS]), st.sampled_from([X, SPECIAL, 6, 7, 100, -1, None]))
    ids = st.one_of(st.lists(st.sampled_from([A, B, AB, EOS]), max_size=6), st.lists(token, max_size=6), st.none())
    start = st.one_of(st.integers(0, 3), st.sampled_from([None, -1, 9]))
    return draw(st.lists(st.tuples(ids, start), max_size=12))


@st.composite
def layouts(draw):
    return draw(st.sampled_from(ID_TYPES)), draw(st.sampled_from([pa.list_, pa.large_list])), draw(st.randoms())


def table_of(corpus, layout):
    """A slice out of something longer, in chunks."""
    id_type, list_type, random = layout
    rows = [(None, 0), ([A, X], 1), *corpus, ([B], 0), (None, None)]
    columns = {
        "ids": pa.array([ids for ids, _ in rows], list_type(id_type)),
        "begin": pa.array([start for _, start in rows], pa.int16()),
        "number": pa.array(range(len(rows))),
    }
    whole = pa.table(columns)
    cuts = sorted(random.randint(2, 2 + len(corpus)) for _ in range(random.randint(0, 3)))
    bounds = [2, *cuts, 2 + len(corpus)]
    return pa.concat_tables([whole[begin:end] for begin, end in pairwise(bounds)])


def that_fit(corpus, id_type):
    """uint types have no -1."""
    lowest = 0 if str(id_type).startswith("u") else -1
    return [(ids and [id if id is None or id >= lowest else 7 for id in ids], start) for ids, start in corpus]


@given(corpora(), layouts(), st.one_of(st.none(), st.integers(0, 5)))
def test_a_column_of_starts(corpus, layout, max_length):
    corpus = that_fit(corpus, layout[0])
    annotate = Annotator(CON, Columns(tokens="ids", start="begin"), max_length=max_length)
    table = table_of(corpus, layout)
    found = annotate(table)
    assert found.column_names == ["ids", "begin", "number", *ADDED]
    assert found.select(table.column_names).equals(table)
    assert_rows(found, [by_hand(ids, start, max_length=max_length) for ids, start in corpus])


@given(corpora(), layouts(), st.one_of(st.integers(0, 3), st.sampled_from([A, EOS, SPECIAL, 6]).map(fm.after)))
def test_one_start_for_all(corpus, layout, start):
    corpus = that_fit(corpus, layout[0])
    found = Annotator(CON, Columns(tokens="ids", start=start))(table_of(corpus, layout))
    assert_rows(found, [by_hand(ids, start) for ids, _ in corpus])


@given(st.lists(st.one_of(st.none(), st.lists(st.sampled_from([A, B, X, 9, None]), min_size=3, max_size=3))))
def test_lists_of_fixed_size(rows):
    column = pa.array([[X] * 3, *rows, None], pa.list_(pa.int64(), 3))[1:-1]
    found = Annotator(CON, Columns(tokens="ids"))(pa.table({"ids": column}))
    assert_rows(found, [by_hand(ids, 0) for ids in rows])


def test_ids_beyond_63_bits_are_their_record_s_error():
    table = pa.table({"ids": pa.array([[2**64 - 100], [A, B]], pa.list_(pa.uint64()))})
    found = Annotator(CON, Columns(tokens="ids"))(table)
    assert_rows(found, [by_hand([-100], 0), by_hand([A, B], 0)])


def test_lists_without_any_id():
    """What Arrow infers from empty lists alone is a list of nulls."""
    found = Annotator(CON, Columns(tokens="ids"))(pa.table({"ids": [[], []]}))
    assert_rows(found, [by_hand([], 0)] * 2)


def test_no_records():
    table = pa.table({"ids": pa.array([], pa.list_(pa.int32()))})
    full = Annotator(CON, Columns(tokens="ids"))(pa.table({"ids": pa.array([[A]], pa.list_(pa.int32()))}))
    for empty in (table, table[:0], pa.table({"ids": pa.chunked_array([], pa.list_(pa.int32()))})):
        found = Annotator(CON, Columns(tokens="ids"))(empty)
        assert found.num_rows == 0
        assert found.schema.equals(full.schema)


def test_the_types_of_the_added_columns():
    tokens, states = pa.list_(pa.int64()), pa.list_(pa.int32())
    found = Annotator(CON, Columns(tokens="ids"))(pa.table({"ids": pa.array([[A]], pa.large_list(pa.int16()))}))
    expected = [tokens, pa.int64(), states, pa.string(), pa.int32(), pa.string()]
    assert [found.schema.field(name).type for name in ADDED] == expected


def test_how_records_are_cut_into_batches_does_not_show():
    """A wrong id behind one record's start says nothing about what stands before the start of another."""
    table = pa.table({"ids": [[10**6, A, B], [X, A, 10**6], [-5, A, A]]})
    annotate = Annotator(CON, Columns(tokens="ids", start=1))
    whole = annotate(table)
    assert whole["verdict"].to_pylist() == ["complete", "error", "complete"]
    assert pa.concat_tables([annotate(table[row : row + 1]) for row in range(3)]).equals(whole)


# ---- what a verdict means, by example -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "start", "verdict", "error_token"),
    [
        ([A, B], 0, "complete", -1),
        ([A, B, EOS], 0, "complete", -1),
        ([A, B, EOS, EOS, EOS], 0, "complete", -1),  # padded with EOS
        ([A, B, EOS, A], 0, "broken", 3),  # padded with anything else: not a padded record, but a text that goes on
        ([A, B, SPECIAL], 0, "broken", 2),
        ([A], 0, "cut off", -1),
        ([A, EOS], 0, "broken", 1),  # ended too soon
        ([], 0, "cut off", -1),
        ([X, X], 2, "cut off", -1),  # the answer is still to come
        ([X, EOS], fm.after(EOS), "cut off", -1),  # likewise
        ([X, X], fm.after(EOS), "unconstrained", -1),
        ([], fm.after(EOS), "unconstrained", -1),
        ([X, EOS, X, A], fm.after(EOS), "broken", 2),
        ([A] * 5, 0, "broken", 4),
    ],
)
def test_verdicts(ids, start, verdict, error_token):
    found = Annotator(CON, Columns(tokens="ids", start=start))(pa.table({"ids": pa.array([ids], pa.list_(pa.int32()))}))
    assert (found["verdict"][0].as_py(), found["error_token"][0].as_py()) == (verdict, error_token)


def test_nothing_is_complete_where_nothing_may_come():
    con = fm.Constraint.from_regex("a?", VOCABULARY)
    table = pa.table({"ids": pa.array([[], [X]], pa.list_(pa.int32())), "begin": [0, 1]})
    found = Annotator(con, Columns(tokens="ids", start="begin"))(table)
    assert found["verdict"].to_pylist() == ["complete", "complete"]


# ---- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id_type", [pa.int32(), pa.int64()])
def test_ids_are_not_copied(id_type):
    ids = pa.array([[X], [A, B], [], [A]], pa.list_(id_type))
    table = pa.table({"ids": ids, "other": pa.array(range(4))})[1:]
    found = Annotator(CON, Columns(tokens="ids"))(table)
    assert found["input_ids"].to_pylist() == [[A, B], [], [A]]
    values = found["input_ids"].chunk(0).flatten().to_numpy()
    assert address(values) == address(ids.values.to_numpy()) + values.itemsize
    assert found["other"].chunk(0).buffers()[1].address == table["other"].chunk(0).buffers()[1].address


def address(array):
    return array.__array_interface__["data"][0]


def test_the_given_table_is_left_alone():
    table = pa.table({"ids": [[A, 99], [A, None], [B]]})
    before = table.to_pylist()
    Annotator(CON, Columns(tokens="ids"))(table)
    assert table.to_pylist() == before


def test_metadata_is_kept():
    field = pa.field("ids", pa.list_(pa.int32()), nullable=False, metadata={"about": "ids"})
    table = pa.table({"ids": pa.array([[A]], field.type)}, schema=pa.schema([field], {"about": "all"}))
    found = Annotator(CON, Columns(tokens="ids"))(table).schema
    assert found.metadata == {b"about": b"all"}
    assert found.field("ids").equals(field, check_metadata=True)


# ---- columns --------------------------------------------------------------------------------------------------------


def test_columns_that_are_read_and_written_under_one_name():
    table = pa.table({"input_ids": [[X, A], [X, A, B]], "start": pa.array([1, 1], pa.int8())})
    found = Annotator(CON, Columns(tokens="input_ids", start="start"))(table)
    assert found.column_names == ADDED
    assert_rows(found, [by_hand([X, A], 1), by_hand([X, A, B], 1)])


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        (Columns(tokens="ids"), {"tokens": [[1]], "other": [1]}, "no column 'ids'; it has 'tokens', 'other'"),
        (Columns(tokens="ids", start="begin"), {"ids": [[1]]}, "no column 'begin'"),
        (Columns(tokens="ids"), {"ids": [[1]], "states": [1]}, "'states' already"),
        (Columns(tokens="ids"), {"ids": [[1]], "start": [1]}, "'start' already"),
        (Columns(tokens="ids"), {"ids": [[1]], "input_ids": [[1]]}, "'input_ids' already"),
        (Columns(tokens="states"), {"states": [[1]]}, "'states' already"),
    ],
)
def test_columns_that_are_missing_or_there_already(columns, given, message):
    with pytest.raises(fm.InputError, match=message):
        Annotator(CON, columns)(pa.table(given))


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        (Columns(tokens="ids"), {"ids": [1]}, "lists of token ids, got int64"),
        (Columns(tokens="ids"), {"ids": ["text"]}, "lists of token ids, got string"),
        (Columns(tokens="ids"), {"ids": [[0.5]]}, "lists of integers, got list<.*double>"),
        (Columns(tokens="ids"), {"ids": [[[1]]]}, "lists of integers, got list<.*list<"),
        (
            Columns(tokens="ids", start="begin"),
            {"ids": [[1]], "begin": [1.0]},
            "'begin' must hold integers, got double",
        ),
        (
            Columns(tokens="ids", start="begin"),
            {"ids": [[1]], "begin": ["1"]},
            "'begin' must hold integers, got string",
        ),
    ],
)
def test_columns_of_the_wrong_type(columns, given, message):
    with pytest.raises(fm.InputTypeError, match=message):
        Annotator(CON, columns)(pa.table(given))


@pytest.mark.parametrize(
    "batch", [{"ids": [[A]]}, pa.record_batch({"ids": [[A]]}), [[A]]], ids=lambda b: type(b).__name__
)
def test_batches_that_are_no_tables(batch):
    with pytest.raises(fm.InputTypeError, match=rf"pyarrow\.Table, got {type(batch).__name__}"):
        Annotator(CON, Columns(tokens="ids"))(batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"exactly one of them, got \[\]"),
        ({"tokens": "a", "text": "b"}, r"got \['tokens', 'text'\]"),
        ({"text": "a", "prompt": "b"}, "go with an answer column"),
        ({"tokens": "a", "end": (EOS,)}, "go with an answer column"),
        ({"text": "a", "between": (EOS,)}, "go with an answer column"),
        ({"answer": "a", "between": (EOS,)}, "between prompt and answer"),
        ({"answer": "a", "start": 3}, "begins with the answer"),
        ({"answer": "a", "start": fm.after(EOS)}, "begins with the answer"),
    ],
)
def test_columns_that_do_not_go_together(options, message):
    with pytest.raises(fm.InputError, match=message):
        Columns(**options)


@pytest.mark.parametrize("given", [EOS, "4", [1.0], ["4"], [True]])
def test_tokens_between_or_behind_that_are_no_ids(given):
    for name in ("between", "end"):
        with pytest.raises(fm.InputTypeError, match=name):
            Columns(answer="a", prompt="b", **{name: given})


def test_ids_may_come_as_any_sequence():
    assert Columns(answer="a", prompt="b", between=[EOS], end=np.array([EOS])) == Columns(
        answer="a", prompt="b", between=(EOS,), end=(EOS,)
    )


def test_a_start_of_no_use():
    with pytest.raises(fm.InputTypeError, match="start"):
        Columns(tokens="ids", start=1.5)
    with pytest.raises(fm.TokenRangeError, match=r"token id 4294967300 lies outside 0 … 6"):
        Annotator(CON, Columns(tokens="ids", start=fm.after(2**32 + EOS)))  # EOS in its lower 32 bits


def test_arguments_that_do_not_go_together():
    with pytest.raises(fm.InputTypeError, match="Constraint or Constraints, got str"):
        Annotator("[ab]", Columns(tokens="ids"))
    with pytest.raises(fm.InputTypeError, match=r'Columns\(answer="reply"\), got dict'):
        Annotator(CON, {"answer": "a"})
    with pytest.raises(fm.InputError, match=r"max_length must be at least 0.*got -1"):
        Annotator(CON, Columns(tokens="ids"), max_length=-1)
    with pytest.raises(fm.InputTypeError, match="max_length must be an integer"):
        Annotator(CON, Columns(tokens="ids"), max_length=2.5)
    with pytest.raises(fm.TokenRangeError, match="end: token id 7 lies outside 0 … 6"):
        Annotator(CON, Columns(answer="a", end=(7,)), tokenizer=[])
    with pytest.raises(fm.InputError, match="pass the tokenizer"):
        Annotator(CON, Columns(text="text"))
    with pytest.raises(fm.InputError, match="a schema column goes with Constraints"):
        Annotator(CON, Columns(tokens="ids", schema="schema"))
    with pytest.raises(fm.InputError, match="a schema column goes with Constraints"):
        Annotator(Constraints(VOCABULARY), Columns(tokens="ids"))


# ---- a schema for each record ---------------------------------------------------------------------------------------

FLAG, DIGITS = '{"type": "boolean"}', '{"type": "integer"}'
BAD = {
    "not json": "not JSON",
    "[" * 100_000: "nested too deeply",
    "[]": "an object or a boolean",
    '{"type": 3}': "",
}


@pytest.fixture(scope="module")
def words():
    return fm.Vocabulary([*(bytes([byte]) for byte in range(256)), b"true", None], 257)


def spelled(texts):
    return [list(text.encode()) for text in texts]


def test_each_record_by_its_own_schema(words):
    schemas = [FLAG, "digits", FLAG, *BAD, None, "digits", FLAG]
    texts = ["true", "12", "12", *["true"] * len(BAD), "true", "x", "fal"]
    table = pa.table({"ids": spelled(texts), "schema": schemas})
    annotate = Annotator(Constraints(words, {"digits": DIGITS}), Columns(tokens="ids", schema="schema"))
    for layout in (table, pa.concat_tables([table[:4], table[4:]]), as_dictionary(table)):
        found = annotate(layout)
        assert found.column_names[-1] == "constraint"
        for row, (schema, text) in enumerate(zip(schemas, texts, strict=True)):
            given = {name: column[row].as_py() for name, column in zip(found.column_names, found.columns, strict=True)}
            if schema in BAD or schema is None:
                assert (given["verdict"], given["constraint"]) == ("error", None)
                assert (BAD.get(schema) or "schema") in given["error"]
                assert given["states"] == [fm.FREE] * len(text)
            else:
                con = fm.Constraint.from_schema({"digits": DIGITS}.get(schema, schema), words)
                wanted = by_hand(list(text.encode()), 0, con)
                assert tuple(given[name] for name in ADDED) == wanted
                assert given["constraint"] == con.fingerprint
        assert set(found["verdict"].to_pylist()) == {"complete", "broken", "cut off", "error"}


def as_dictionary(table):
    encoded = table["schema"].combine_chunks().dictionary_encode()
    return table.set_column(table.column_names.index("schema"), "schema", encoded)


def test_a_wrong_id_is_found_whatever_schema_it_comes_under(words):
    table = pa.table({"ids": [[49], [10**6], list(b"true")], "schema": [DIGITS, FLAG, FLAG]})
    found = Annotator(Constraints(words), Columns(tokens="ids", schema="schema"))(table)
    assert found["verdict"].to_pylist() == ["complete", "error", "complete"]
    assert "token id 1000000 at position 0" in found["error"][1].as_py()


@pytest.mark.parametrize("kind", [pa.int64(), pa.struct([("name", pa.string())]), pa.list_(pa.string()), pa.binary()])
def test_a_column_that_holds_no_text_is_named_before_a_record_is_read(kind):
    nothing = pa.table({"a": pa.array([], pa.string()), "b": pa.array([], kind)})
    for columns in (Columns(answer="b"), Columns(text="b"), Columns(answer="a", prompt="b")):
        with pytest.raises(
            fm.InputTypeError, match=r"'b' must hold text, got .*json\.dumps\(value, ensure_ascii=False\)"
        ):
            Annotator(CON, columns, tokenizer=[])(nothing)


def test_a_name_that_no_schema_has_is_told_those_that_there_are(words):
    known = Constraints(words, {"flag": FLAG, "digits": DIGITS})
    with pytest.raises(
        fm.SchemaError, match=r"'digit' is not JSON, nor the name of a schema; those are 'flag', 'digits'$"
    ):
        known.of("digit")
    with pytest.raises(fm.SchemaError, match="the schema is not JSON"):
        known.of('{"type":')
    many = Constraints(words, {f"n{number}": FLAG for number in range(21)})
    with pytest.raises(fm.SchemaError, match=r"'n18', 'n19' …$"):
        many.of("n21")


def test_constraints_of_what_is_no_vocabulary_or_no_room(words):
    with pytest.raises(fm.InputTypeError, match="expected a Vocabulary, got str"):
        Constraints("words")
    with pytest.raises(fm.InputError, match=r"max_bytes must be at least 0.*got -1"):
        Constraints(words, max_bytes=-1)


def test_schemas_that_are_no_texts(words):
    annotate = Annotator(Constraints(words), Columns(tokens="ids", schema="schema"))
    with pytest.raises(fm.InputTypeError, match=r"'schema' must hold schemas as JSON text.*got struct<type: string>"):
        annotate(pa.table({"ids": [[49]], "schema": [{"type": "boolean"}]}))
    with pytest.raises(fm.InputError, match="'constraint' already"):
        annotate(pa.table({"ids": [[49]], "schema": [FLAG], "constraint": [1]}))


@pytest.fixture
def compiled(monkeypatch):
    """The schemas that were compiled, in their order."""
    schemas, compile_schema = [], fm.Constraint.from_schema

    def noted(schema, *args, **options):
        schemas.append(schema)
        return compile_schema(schema, *args, **options)

    monkeypatch.setattr(fm.Constraint, "from_schema", noted)
    return schemas


def test_each_schema_is_compiled_once_good_or_bad(words, compiled):
    constraints = Constraints(words)
    table = pa.table({"ids": spelled(["true", "1"] * 3), "schema": [FLAG, "not json"] * 3})
    annotate = Annotator(constraints, Columns(tokens="ids", schema="schema"))
    assert annotate(table).equals(annotate(table))
    assert compiled == [FLAG, "not json"]


def test_schemas_beyond_the_budget_are_compiled_again(words, compiled):
    """With room for two, the one used longest ago goes."""
    schemas = [f'{{"enum": ["{letter}"]}}' for letter in "abc"]
    room = 2 * fm.Constraint.from_schema(schemas[0], words).nbytes
    compiled.clear()
    constraints = Constraints(words, max_bytes=room)
    for schema in (*schemas[:2], schemas[0], schemas[2], schemas[0], schemas[1]):
        constraints.of(schema)
    assert compiled == [*schemas, schemas[1]]


def test_a_budget_of_nothing_changes_no_result(words, compiled):
    table = pa.table({"ids": spelled(["true", "12", "true", "x"]), "schema": [FLAG, DIGITS, FLAG, DIGITS]})
    columns = Columns(tokens="ids", schema="schema")
    expected = Annotator(Constraints(words), columns)(table)
    annotate = Annotator(Constraints(words, max_bytes=0), columns)
    assert annotate(table).equals(expected)
    assert annotate(table).equals(expected)
    assert compiled == [FLAG, DIGITS] * 3


# ---- text -----------------------------------------------------------------------------------------------------------

PROMPTS = ["Tag: Get well soon!", "", None, "Grüße 日本 🙂", "x"]


@pytest.fixture(scope="module")
def con(tokenized):
    return fm.Constraint.from_schema(SCHEMAS["upos"], tokenized.vocabulary)


def bytes_of(sample, ids):
    return b"".join(sample.tokens[i] or b"" for i in ids)


def test_prompts_and_answers(tokenized, con):
    """The answer's tokens spell its bytes and no space before; each part is tokenised by itself."""
    eos, tokenizer = tokenized.eos, tokenized.tokenizer
    answers = [*map(answer, SENTENCES), answer(SENTENCES[0]), answer(SENTENCES[1])[:-2]]
    columns = Columns(answer="answer", prompt="prompt", between=(eos,), end=(eos,))
    found = Annotator(con, columns, tokenizer)(pa.table({"prompt": PROMPTS, "answer": answers}))
    assert found["verdict"].to_pylist() == ["complete", "complete", "error", "complete", "broken"]
    assert found["error"].to_pylist()[2] == "null in column 'prompt', expected a text"
    assert found["input_ids"].to_pylist()[2] == []
    for row, (prompt, text) in enumerate(zip(PROMPTS, answers, strict=True)):
        if prompt is None:
            continue
        ids, start = found["input_ids"][row].as_py(), found["start"][row].as_py()
        head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        assert ids[:start] == [*head, eos]
        assert ids[-1] == eos
        assert bytes_of(tokenized, ids[start:-1]) == text.encode()
        assert found["states"][row].as_py() == con.walk([ids], start=start)[0].tolist()
    assert found["error_token"][4].as_py() == len(found["input_ids"][4]) - 1  # EOS came too soon


def test_the_trap_that_llama_2_sets(tokenized, con):
    """Tokenised alone, its answers begin with a space, which the schema refuses; the annotator's do not."""
    text = answer(SENTENCES[0])
    alone = tokenized.tokenizer(text, add_special_tokens=False)["input_ids"]
    has_space = bytes_of(tokenized, alone).startswith(b" ")
    assert has_space == (type(tokenized.tokenizer).__name__.startswith("Llama") and tokenized.vocabulary.size == 32_000)
    assert con.check([alone]).complete[0] == (not has_space)
    found = Annotator(con, Columns(answer="answer"), tokenized.tokenizer)(pa.table({"answer": [text]}))
    assert found["verdict"].to_pylist() == ["complete"]


def test_special_tokens_written_into_an_answer_are_no_text(tokenized, con):
    text = answer(SENTENCES[0]) + tokenized.tokenizer.eos_token
    found = Annotator(con, Columns(answer="answer"), tokenized.tokenizer)(pa.table({"answer": [text]}))
    assert found["verdict"].to_pylist() == ["error"]
    assert "spells the answer with other bytes" in found["error"][0].as_py()


def test_whole_texts(tokenized, con):
    tokenizer = tokenized.tokenizer
    texts = ["Get well" + tokenizer.eos_token + answer(SENTENCES[0]), None, "", "no answer", answer(SENTENCES[1])]
    found = Annotator(con, Columns(text="text", start=fm.after(tokenized.eos)), tokenizer)(pa.table({"text": texts}))
    ids = [[] if text is None else tokenizer(text)["input_ids"] for text in texts]
    assert_rows(
        found,
        [
            ([], 0, [], "error", -1, "null in column 'text', expected a text")
            if text is None
            else by_hand(row, fm.after(tokenized.eos), con)
            for text, row in zip(texts, ids, strict=True)
        ],
    )
    assert found["verdict"].to_pylist() == ["complete", "error", *["unconstrained"] * 3]


def test_texts_that_are_none(tokenized, con):
    """A null is an error of its record; a batch without a single text needs no tokenizer."""
    found = Annotator(con, Columns(answer="answer"), tokenized.tokenizer)(pa.table({"answer": [None, None]}))
    assert found["error"].to_pylist() == ["null in column 'answer', expected a text"] * 2
    empty = Annotator(con, Columns(text="text"), tokenized.tokenizer)(pa.table({"text": pa.array([], pa.string())}))
    assert empty.num_rows == 0


def normalising(tokenizer, name):
    from tokenizers import normalizers

    changed = copy.deepcopy(tokenizer)
    changed.backend_tokenizer.normalizer = getattr(normalizers, name)()
    return changed


@pytest.mark.parametrize(("name", "text"), [("Lowercase", "ABC"), ("NFKC", "ﬁn"), ("Strip", " abc "), ("NFD", "é")])
def test_answers_that_the_tokenizer_spells_otherwise(bpe, name, text):
    """Lower case has as many bytes as upper case, and is no better for that."""
    con = fm.Constraint.from_regex("(?s).*", bpe.vocabulary)
    found = Annotator(con, Columns(answer="answer", end=(bpe.eos,)), normalising(bpe.tokenizer, name))(
        pa.table({"answer": [text, "abc"]})
    )
    assert found["verdict"].to_pylist() == ["error", "complete"]
    assert found["error"][0].as_py().endswith(f"spells the answer with other bytes than it has: {text!r}")
    assert found["input_ids"][0].as_py() == []


def test_a_tokenizer_with_more_tokens_than_the_vocabulary(bpe):
    tokenizer = copy.deepcopy(bpe.tokenizer)
    tokenizer.add_tokens(["<new>"])
    con = fm.Constraint.from_regex(".*", bpe.vocabulary)
    with pytest.raises(fm.VocabularyError, match=f"has {len(tokenizer)} tokens, the vocabulary {len(bpe.tokens)}"):
        Annotator(con, Columns(text="text"), tokenizer)


# ---- travelling -----------------------------------------------------------------------------------------------------


def test_an_annotator_survives_pickling(bpe):
    con = fm.Constraint.from_schema(SCHEMAS["article"], bpe.vocabulary)
    columns = Columns(answer="answer", end=(bpe.eos,))
    table = pa.table({"answer": [*map(answer, SENTENCES), "no", None]})
    annotate = Annotator(con, columns, bpe.tokenizer, max_length=100)
    again = pickle.loads(pickle.dumps(annotate))
    assert again(table).equals(annotate(table))
    assert (again.columns, again.max_length, again.vocabulary) == (columns, 100, bpe.vocabulary)


def test_constraints_survive_pickling(words):
    """Their options travel, what they have compiled does not."""
    options = {"schemas": {"digits": DIGITS}, "max_bytes": 5, "strict": False, "whitespace": ""}
    constraints = Constraints(words, **options)
    sizes = [len(pickle.dumps(constraints)), constraints.of("digits") and len(pickle.dumps(constraints))]
    assert sizes[0] == sizes[1]
    again = pickle.loads(pickle.dumps(constraints))
    assert again.of("digits").fingerprint == constraints.of("digits").fingerprint
    loose = '{"type": "array", "items": {"type": "integer", "minimum": 3}}'
    with pytest.warns(fm.UnsupportedSchemaWarning):
        assert again.of(loose).check(spelled(["[1, 2]"])).complete.tolist() == [False]  # no space, as told


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_threads(threads, count):
    draw = np.random.default_rng(1)
    rows = [draw.choice([A, B, AB, EOS, X], draw.integers(0, 9)).tolist() for _ in range(5_000)]
    table = pa.table({"ids": rows})
    threads(count)
    assert_rows(Annotator(CON, Columns(tokens="ids"))(table), [by_hand(row, 0) for row in rows])
