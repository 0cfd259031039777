"""The engine against outlines-core's own Index and against the oracle, on every state of every case."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

import fastmask as fm
from tests import oracle
from tests.cases import AFFECTED_BY_OUTLINES_MATCH_DELAY, READ_AS_FIRST_CHOICE_BY_OUTLINES, REGEXES, SCHEMAS, Case
from tests.compare import outlines_vocabulary, same_on_all_states
from tests.regex_strategies import PLAIN, patterns
from tests.vocabularies import SHARED
from tests.wild_schemas import SAMPLE, wild_cases

Index = pytest.importorskip("outlines_core").Index
json_schema = pytest.importorskip("outlines_core").json_schema
SCHEMA_CASES = [
    Case(name, json_schema.build_regex_from_schema(json.dumps(schema), None)) for name, schema in SCHEMAS.items()
]
CASES = SCHEMA_CASES + REGEXES
BITS_IN_EVERY_RUN = 10_000_000
BITS_IN_LONG_RUN = 1_000_000_000

PYTHON_CASES = [case for case in CASES if case.python]
WILD = wild_cases(200)
ORACLE_ALONE = AFFECTED_BY_OUTLINES_MATCH_DELAY + READ_AS_FIRST_CHOICE_BY_OUTLINES


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def outlines_tokens(sample):
    return outlines_vocabulary(sample.tokens, sample.eos)


@pytest.fixture
def index(case, outlines_tokens):
    return Index(case.regex, outlines_tokens)


@each(CASES)
def test_same_bits_as_outlines_core(case, sample, index, compared):
    con = fm.Constraint.from_regex(case.regex, sample.vocabulary)
    compared["outlines-core"] += same_on_all_states(con, oracle.TokenIndex(index, sample.eos))


@each(WILD)
def test_same_bits_on_schemas_from_the_wild(case, small, compared):
    compared["wild"] += _same_bits_if_read_alike(case, small, outlines_vocabulary(small.tokens, small.eos))


@pytest.mark.long
@each(WILD)
def test_same_bits_on_schemas_from_the_wild_over_every_vocabulary(case, sample, outlines_tokens, compared):
    compared["wild, long"] += _same_bits_if_read_alike(case, sample, outlines_tokens)


def _read_alike(con) -> bool:
    """outlines-core's reading differs from ours only where a match can be the beginning of a longer one."""
    states = range(con.initial_state, con.num_states)
    return not any(con.is_final(state) and len(con.allowed_tokens(state)) > 1 for state in states)


def _same_bits_if_read_alike(case, sample, outlines_tokens) -> int:
    con = fm.Constraint.from_regex(case.regex, sample.vocabulary)
    if not _read_alike(con):
        return 0
    index = Index(case.regex, outlines_tokens)
    return same_on_all_states(con, oracle.TokenIndex(index, sample.eos))


@pytest.mark.long
@settings(max_examples=40)
@given(drawn=patterns(PLAIN))
def test_same_bits_on_drawn_patterns_over_every_vocabulary(drawn, sample, outlines_tokens, compared):
    """Every drawn text ends in a mark of its own, so that none is the beginning of another: see `_read_alike`."""
    case = Case("drawn", f"({drawn})!")
    compared["drawn, long"] += _same_bits_if_read_alike(case, sample, outlines_tokens)


@each(CASES)
def test_an_index_of_ones_own_is_walked_as_it_is(case, synthetic, compared):
    assert len(set(synthetic.tokens)) < len(synthetic.tokens), "several ids for the same bytes"
    index = Index(case.regex, outlines_vocabulary(synthetic.tokens, synthetic.eos))
    con = fm.Constraint.from_index(index, synthetic.vocabulary)
    compared["from_index"] += same_on_all_states(con, oracle.TokenIndex(index, synthetic.eos))


@pytest.mark.long
@each(CASES)
def test_an_index_over_every_vocabulary(case, sample, index, compared):
    con = fm.Constraint.from_index(index, sample.vocabulary)
    compared["from_index, long"] += same_on_all_states(con, oracle.TokenIndex(index, sample.eos))


def test_an_index_may_end_on_more_ids_than_its_own():
    from outlines_core import Vocabulary

    index = Index("a+", Vocabulary(2, {b"a": [0, 1]}))
    con = fm.Constraint.from_index(index, fm.Vocabulary([b"a", b"a"], eos_token_id=[2, 4], size=6))
    final = con.advance(con.initial_state, 1)
    assert con.allowed_tokens(con.initial_state).tolist() == [0, 1]
    assert con.allowed_tokens(final).tolist() == [0, 1, 2, 4]
    assert con.advance(final, 0) == con.advance(final, 1)
    assert [con.advance(final, token) for token in range(2, 6)] == [fm.DONE, fm.DEAD, fm.DONE, fm.DEAD]
    assert [con.advance(con.initial_state, token) for token in range(2, 6)] == [fm.DEAD] * 4


@each(PYTHON_CASES + ORACLE_ALONE)
def test_same_bits_as_the_oracle(case, small, compared):
    con = fm.Constraint.from_regex(case.regex, small.vocabulary)
    walker = oracle.Walker(oracle.Pattern(case.regex), small.tokens, [small.eos])
    compared["oracle"] += same_on_all_states(con, walker)


@each(CASES)
def test_both_builders_make_the_same_automaton(case, small):
    ours, theirs = (
        fm.Constraint.from_regex(case.regex, small.vocabulary, **builder) for builder in ({}, {"builder": "outlines"})
    )
    assert ours.fingerprint == theirs.fingerprint


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_its_regex(name, small):
    (case,) = [case for case in SCHEMA_CASES if case.name == name]
    con = fm.Constraint.from_schema(SCHEMAS[name], small.vocabulary)
    walker = oracle.Walker(oracle.ByteIndex(case.regex), small.tokens, [small.eos])
    assert same_on_all_states(con, walker) >= (con.num_states - 3) * small.vocabulary.size


@each(PYTHON_CASES)
def test_the_table_holds_no_case_that_outlines_core_gets_wrong(case):
    assert not oracle.has_match_delay(oracle.Pattern(case.regex))


@each(AFFECTED_BY_OUTLINES_MATCH_DELAY)
def test_affected_cases_are_really_affected(case):
    assert oracle.has_match_delay(oracle.Pattern(case.regex))


def skip_unless_all_ran(request, *names):
    if not set(names) <= {item.originalname for item in request.session.items}:
        pytest.skip("only a selection of the comparisons ran")


def test_enough_bits_were_compared(compared, request):
    """The comparisons above are not vacuous."""
    skip_unless_all_ran(request, "test_same_bits_as_outlines_core", "test_an_index_of_ones_own_is_walked_as_it_is")
    assert compared["outlines-core"] >= BITS_IN_EVERY_RUN
    assert compared["from_index"] >= BITS_IN_EVERY_RUN


@pytest.mark.skipif(not SAMPLE.is_file(), reason=f"no sample of schemas at {SAMPLE}; set FASTMASK_SHARED")
def test_the_wild_schemas_are_many_and_nearly_all_are_compared(small):
    assert len(WILD) == 200
    assert sum(_read_alike(fm.Constraint.from_regex(case.regex, small.vocabulary)) for case in WILD) >= 190


@pytest.mark.long
@pytest.mark.skipif(not (SHARED / "tokenizers" / "llama3").is_dir(), reason="needs the shared tokenizers")
def test_a_thousand_million_bits_were_compared(compared, request):
    skip_unless_all_ran(request, "test_same_bits_as_outlines_core", "test_an_index_over_every_vocabulary")
    assert compared.total() >= BITS_IN_LONG_RUN
