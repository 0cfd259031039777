"""Bad input: the right class, which is also the built-in it resembles, and a message that names the thing."""

from __future__ import annotations

import json
import re
from collections import UserDict

import numpy as np
import pytest

import fastmask as fm
from tests.cases import SCHEMAS

BUILT_IN = {
    fm.GenerationError: RuntimeError,
    fm.MissingExtraError: ModuleNotFoundError,
    fm.MissingProgramError: RuntimeError,
    fm.CorpusError: ValueError,
    fm.VocabularyError: ValueError,
    fm.RegexError: ValueError,
    fm.CompileLimitError: RuntimeError,
    fm.CorpusError: ValueError,
    fm.SchemaError: ValueError,
    fm.UnsupportedSchemaError: ValueError,
    fm.FileFormatError: ValueError,
    fm.InputError: ValueError,
    fm.InputTypeError: TypeError,
    fm.TokenRangeError: IndexError,
}
V = fm.Vocabulary([*(bytes([byte]) for byte in range(256)), None], eos_token_id=256)
CON = fm.Constraint.from_regex("[0-9]{3}", V)
ROWS = np.array([[49, 50, 51], [52, 53, 54]])
STATES = CON.walk(ROWS)
WORDS = (257 + 31) // 32


def read_only(array):
    array.flags.writeable = False
    return array


def from_index(vocabulary, token=1):
    outlines = pytest.importorskip("outlines_core")
    return fm.Constraint.from_index(outlines.Index("a", outlines.Vocabulary(9, {b"a": [token], b"b": [7]})), vocabulary)


# name: (class, words of the message, call)
BAD = {
    # vocabularies
    "no EOS": (fm.VocabularyError, "EOS", lambda: fm.Vocabulary([b"a"], None)),
    "empty EOS": (fm.VocabularyError, "eos_token_id is empty", lambda: fm.Vocabulary([b"a"], [])),
    "EOS beyond": (fm.VocabularyError, "EOS id 5 .* 0 … 1", lambda: fm.Vocabulary([b"a", None], 5, size=2)),
    "EOS negative": (fm.VocabularyError, "EOS id -1", lambda: fm.Vocabulary([b"a", None], -1)),
    "EOS a string": (fm.InputTypeError, "eos_token_id.*'</s>'", lambda: fm.Vocabulary([b"a"], "</s>")),
    "EOS a float": (fm.InputTypeError, "eos_token_id.*1.0", lambda: fm.Vocabulary([b"a", None], 1.0)),
    "EOS beyond a gap": (fm.VocabularyError, "EOS id 7 .* the 2 tokens.*size=", lambda: fm.Vocabulary([b"a", b"b"], 7)),
    "EOS beyond 32 bits": (
        fm.VocabularyError,
        "at most 2,147,483,646.*4,294,967,297",
        lambda: fm.Vocabulary([b"a"], 2**32, size=2**32 + 1),
    ),
    "EOS huge": (fm.VocabularyError, f"EOS id {10**30:,} .*size=", lambda: fm.Vocabulary([b"a"], 10**30)),
    "size too small": (fm.VocabularyError, "size=1 .* 2 tokens", lambda: fm.Vocabulary([b"a", b"b"], 1, size=1)),
    "size negative": (fm.VocabularyError, "size", lambda: fm.Vocabulary([b"a"], 0, size=-5)),
    "size huge": (fm.VocabularyError, "at most 2,147,483,646", lambda: fm.Vocabulary([b"a"], 0, size=2**40)),
    "size a float": (fm.InputTypeError, "size", lambda: fm.Vocabulary([b"a"], 0, size=5.0)),
    "a text for tokens": (fm.InputTypeError, "token", lambda: fm.Vocabulary("abc", 0)),
    "bytes for tokens": (fm.InputTypeError, "token", lambda: fm.Vocabulary(b"abc", 0)),
    "strings for tokens": (fm.InputTypeError, "token 1 .*'b'", lambda: fm.Vocabulary([b"a", "b"], 0)),
    "an iterator for tokens": (fm.InputTypeError, "iterator", lambda: fm.Vocabulary(iter([b"a"]), 0)),
    "a dict for tokens": (fm.InputTypeError, "dict", lambda: fm.Vocabulary({b"a": 0}, 0)),
    "None for tokens": (fm.InputTypeError, "tokens", lambda: fm.Vocabulary(None, 0)),
    "a token of 70,000 bytes": (
        fm.InputError,
        "token 1 .*70000",
        lambda: from_regex("a", tokens=[b"a", b"b" * 70_000]),
    ),
    "not a tokenizer": (fm.InputTypeError, "tokenizer.*int", lambda: fm.Vocabulary.from_tokenizer(3)),
    # patterns and schemas
    "unbalanced": (fm.RegexError, r"character 0: found `\(", lambda: from_regex("(ab")),
    "nothing to repeat": (fm.RegexError, r"\*", lambda: from_regex("*")),
    "anchor": (fm.RegexError, r"\^", lambda: from_regex("^a")),
    "word boundary": (fm.RegexError, r"\\b", lambda: from_regex(r"\bfoo")),
    "look-around": (fm.RegexError, "look-around", lambda: from_regex("(?=a)b")),
    "back-reference": (fm.RegexError, "back-references", lambda: from_regex(r"(a)\1")),
    "matches nothing": (fm.RegexError, "no text|nothing", lambda: from_regex(r"[^\s\S]")),
    "bad range": (fm.RegexError, "character 1: found `z`.*backwards", lambda: from_regex("[z-a]")),
    "lone surrogate": (fm.RegexError, "surrogate", lambda: from_regex("a\ud800")),
    "pattern in bytes": (fm.InputTypeError, "str, got bytes", lambda: from_regex(b"a")),
    "pattern None": (fm.InputTypeError, "str, got NoneType", lambda: from_regex(None)),
    "unknown builder": (fm.InputError, "builder.*'x'", lambda: from_regex("a", builder="x")),
    "too many states": (fm.CompileLimitError, "max_states", lambda: from_regex("[01]*1[01]{17}", max_states=1_000)),
    "budget not positive": (fm.InputError, "max_states.*0", lambda: from_regex("a", max_states=0)),
    "budget NaN": (fm.InputError, "max_seconds.*nan", lambda: from_regex("a", max_seconds=float("nan"))),
    "budget a string": (fm.InputTypeError, "max_states.* number, got '5'", lambda: from_regex("a", max_states="5")),
    "budget a boolean": (fm.InputTypeError, "max_seconds.*True", lambda: from_regex("a", max_seconds=True)),
    "schema's budget a string": (
        fm.InputTypeError,
        "max_bytes.* number, got '5'",
        lambda: fm.Constraint.from_schema({"type": "null"}, V, max_bytes="5"),
    ),
    "option misspelt": (
        fm.InputTypeError,
        r"from_schema\(\).*'white_space': did you mean 'whitespace'",
        lambda: fm.Constraint.from_schema({"type": "null"}, V, white_space=""),
    ),
    "option of a schema": (
        fm.InputTypeError,
        r"from_regex\(\).*'strict': there are builder, max_seconds, max_states, max_bytes$",
        lambda: from_regex("a", strict=True),
    ),
    "option of choices misspelt": (
        fm.InputTypeError,
        r"from_choices\(\).*'maxstates': did you mean 'max_states'",
        lambda: fm.Constraint.from_choices(["a"], V, maxstates=5),
    ),
    "strict a string": (
        fm.InputTypeError,
        "strict must be True or False, got 'no'",
        lambda: fm.Constraint.from_schema({"type": "null"}, V, strict="no"),
    ),
    "no vocabulary": (fm.InputTypeError, "Vocabulary, got list", lambda: fm.Constraint.from_regex("a", [b"a"])),
    "no choices": (fm.InputError, "empty", lambda: fm.Constraint.from_choices([], V)),
    "choices a string": (fm.InputTypeError, "list of strings.*yes", lambda: fm.Constraint.from_choices("yes", V)),
    "choices of numbers": (fm.InputTypeError, "list of strings.*2", lambda: fm.Constraint.from_choices(["1", 2], V)),
    "choices None": (fm.InputTypeError, "choices.*None", lambda: fm.Constraint.from_choices(None, V)),
    "schema not JSON": (fm.SchemaError, "not JSON", lambda: fm.Constraint.from_schema("{", V)),
    "schema a file's name": (
        fm.SchemaError,
        r"'person\.json' is not JSON.*pathlib\.Path",
        lambda: fm.Constraint.from_schema("person.json", V),
    ),
    "schema of no type": (
        fm.SchemaError,
        r"pydantic makes no JSON schema of <object object at \w+>: [^\n]*$",
        lambda: fm.Constraint.from_schema(object(), V),
    ),
    "schema a list": (fm.SchemaError, "object", lambda: fm.Constraint.from_schema("[1]", V)),
    "whitespace a number": (
        fm.InputTypeError,
        "whitespace.*str, got int",
        lambda: fm.Constraint.from_schema({"type": "null"}, V, whitespace=1),
    ),
    "whitespace unbalanced": (
        fm.RegexError,
        r"whitespace.*`\)`",
        lambda: fm.Constraint.from_schema({"type": "null"}, V, whitespace=" )|( "),
    ),
    "unknown type": (fm.SchemaError, "", lambda: fm.Constraint.from_schema({"type": "strin"}, V)),
    "dangling reference": (fm.SchemaError, "", lambda: fm.Constraint.from_schema({"$ref": "#/$defs/x"}, V)),
    "schema not of JSON": (fm.SchemaError, "not JSON|set", lambda: fm.Constraint.from_schema({"enum": {1, 2}}, V)),
    "index of another kind": (fm.InputTypeError, "Index, got str", lambda: fm.Constraint.from_index("a", V)),
    "index beyond": (
        fm.VocabularyError,
        "token id 12, beyond the 10 ",
        lambda: from_index(fm.Vocabulary([], 9, size=10), token=12),
    ),
    "index with another EOS": (
        fm.VocabularyError,
        r"id 9, .*\(3,\)",
        lambda: from_index(fm.Vocabulary([b"a"] * 20, 3)),
    ),
    # tokens
    "token beyond": (fm.TokenRangeError, "257 at row 1, position 2", lambda: CON.walk([[1], [1, 2, 257]])),
    "token negative": (fm.TokenRangeError, "-1 at row 0, position 0", lambda: CON.walk([[-1]])),
    "token in padding": (
        fm.TokenRangeError,
        "-100 at row 1, position 1",
        lambda: CON.walk(np.array([[1, 2], [1, -100]])),
    ),
    "token beyond 32 bits": (fm.TokenRangeError, "4294967297", lambda: CON.walk([[2**32 + 1]])),
    "token beyond 63 bits": (fm.InputError, "63 bits", lambda: CON.walk(np.array([[2**63]], np.uint64))),
    "token beyond any": (fm.InputTypeError, "integers", lambda: CON.walk([[10**30]])),
    "floats": (fm.InputTypeError, "tokens.*float64", lambda: CON.walk(np.ones((2, 3)))),
    "NaN": (fm.InputTypeError, "tokens.*float64", lambda: CON.walk([[float("nan")]])),
    "booleans": (fm.InputTypeError, "tokens.*bool", lambda: CON.walk(np.ones((2, 3), bool))),
    "lists of booleans": (fm.InputTypeError, "tokens.*bool", lambda: CON.walk([[True]])),
    "objects": (fm.InputTypeError, "tokens.*object", lambda: CON.walk(np.array([[None]]))),
    "strings": (fm.InputTypeError, r"tokens.*text.*tokenizer\(texts\)", lambda: CON.check(["abc"])),
    "a string": (fm.InputTypeError, r"tokens.*text.*tokenizer\(texts\)", lambda: CON.walk("abc")),
    "a string for a token": (fm.InputTypeError, r"tokens.*text.*tokenizer\(texts\)", lambda: CON.advance(3, "a")),
    "dates": (fm.InputTypeError, "tokens", lambda: CON.walk(np.zeros((1, 1), "M8[s]"))),
    "None for rows": (fm.InputTypeError, "tokens.*NoneType", lambda: CON.walk(None)),
    "None for a token": (fm.InputTypeError, "tokens", lambda: CON.walk([[1, None]])),
    "one row": (fm.InputError, r"two dimensions.*\(3,\)", lambda: CON.walk(np.array([1, 2, 3]))),
    "one list": (fm.InputTypeError, "for one row", lambda: CON.walk([1, 2, 3])),
    "three dimensions": (fm.InputError, r"two dimensions.*\(1, 2, 3\)", lambda: CON.walk(np.zeros((1, 2, 3), int))),
    "lists of matrices": (fm.InputError, r"row.*\(2, 2\)", lambda: CON.walk([np.zeros((2, 2), int)])),
    "lists in three dimensions": (fm.InputError, r"row.*\(1, 1\)", lambda: CON.walk([[[1]]])),
    "a dict": (fm.InputTypeError, 'tokens.* a dict.*"input_ids"', lambda: CON.walk({"input_ids": [[1]]})),
    "a tokenizer's dict": (
        fm.InputTypeError,
        'tokens.* a UserDict.*"input_ids"',
        lambda: CON.walk(UserDict(input_ids=[[1]], attention_mask=[[1]])),
    ),
    # starts and lengths
    "start beyond": (fm.InputError, "start 4 of row 0 .* 0 … 3", lambda: CON.walk(ROWS, start=4)),
    "start beyond one row": (fm.InputError, "start 2 of row 1 .* 0 … 1", lambda: CON.walk([[1, 2], [1]], start=2)),
    "start beyond a length": (fm.InputError, "start 2 of row 1", lambda: CON.walk(ROWS, start=2, lengths=[3, 1])),
    "start negative": (fm.InputError, "start -1 of row 0", lambda: CON.walk(ROWS, start=-1)),
    "start huge": (fm.InputError, "start", lambda: CON.walk(ROWS, start=2**63 - 1)),
    "start a float": (fm.InputTypeError, "start.*float64", lambda: CON.walk(ROWS, start=1.0)),
    "start a boolean": (fm.InputTypeError, "start.*bool", lambda: CON.walk(ROWS, start=True)),
    "start a text": (fm.InputTypeError, r"start.*text.*con\.after\(", lambda: CON.walk(ROWS, start="<answer>")),
    "start None": (fm.InputTypeError, "start.*object", lambda: CON.walk(ROWS, start=None)),
    "starts of another length": (fm.InputError, r"start.* 2 rows.*\(3,\)", lambda: CON.walk(ROWS, start=[1, 2, 3])),
    "starts in two dimensions": (fm.InputError, "start", lambda: CON.walk(ROWS, start=[[1, 1]])),
    "ragged starts": (fm.InputTypeError, "start", lambda: CON.walk(ROWS, start=[[1], [1, 2]])),
    "after beyond": (fm.TokenRangeError, "257 .* 0 … 256", lambda: CON.walk(ROWS, start=fm.after(257))),
    "after negative": (fm.TokenRangeError, "-1", lambda: CON.walk(ROWS, start=fm.after(-1))),
    "after beyond 32 bits": (fm.TokenRangeError, str(2**32 + 49), lambda: CON.walk(ROWS, start=fm.after(2**32 + 49))),
    "after a string": (fm.InputTypeError, "'</s>'", lambda: fm.after("</s>")),
    "after a boolean": (fm.InputTypeError, "True", lambda: fm.after(True)),
    "lengths beyond": (fm.InputError, "length 4 of row 1 .* 0 … 3", lambda: CON.walk(ROWS, lengths=[1, 4])),
    "lengths negative": (fm.InputError, "length -1 of row 0", lambda: CON.walk(ROWS, lengths=[-1, 1])),
    "lengths of another length": (fm.InputError, r"lengths.* 2 rows.*\(1,\)", lambda: CON.walk(ROWS, lengths=[1])),
    "lengths of floats": (fm.InputTypeError, "lengths.*float64", lambda: CON.walk(ROWS, lengths=[1.0, 2.0])),
    "lengths for lists": (fm.InputError, "lengths.*list", lambda: CON.walk([[1], [2]], lengths=[1, 1])),
    # states
    "state beyond": (fm.TokenRangeError, "state 99 .* 0 … 6", lambda: CON.bitmask([1, 99])),
    "state negative": (fm.TokenRangeError, "state -1", lambda: CON.allowed(-1)),
    "state beyond 32 bits": (fm.TokenRangeError, str(2**32 + 3), lambda: CON.bitmask([2**32 + 3])),
    "state huge": (fm.InputTypeError, "states", lambda: CON.bitmask(10**30)),
    "state a float": (fm.InputTypeError, "states.*float64", lambda: CON.bitmask(3.0)),
    "state a boolean": (fm.InputTypeError, "states.*bool", lambda: CON.bitmask(np.array([True]))),
    "state a string": (fm.InputTypeError, "states", lambda: CON.bitmask("3")),
    "state None": (fm.InputTypeError, "states", lambda: CON.allowed(None)),
    "ragged states": (fm.InputTypeError, "states", lambda: CON.bitmask([[3], [3, 4]])),
    "is_final beyond": (fm.TokenRangeError, "state 99", lambda: CON.is_final(99)),
    "is_final negative": (fm.TokenRangeError, "state -1", lambda: CON.is_final([-1])),
    "allowed_tokens beyond": (fm.TokenRangeError, "state 99", lambda: CON.allowed_tokens(99)),
    "allowed_tokens of many": (fm.InputTypeError, "state", lambda: CON.allowed_tokens([3, 4])),
    "allowed_tokens of a float": (fm.InputTypeError, "state", lambda: CON.allowed_tokens(3.0)),
    "forced beyond": (fm.TokenRangeError, "state 99", lambda: CON.forced(99)),
    "forced of a string": (fm.InputTypeError, "state", lambda: CON.forced("x")),
    "advance from beyond": (fm.TokenRangeError, "state 99 at position 1", lambda: CON.advance([3, 99], [49, 49])),
    "advance by beyond": (fm.TokenRangeError, "257 at position 0", lambda: CON.advance([3], [257])),
    "advance in other shapes": (fm.InputError, r"\(2,\).*\(3,\)", lambda: CON.advance([3, 3], [1, 2, 3])),
    # out
    "out of another shape": (
        fm.InputError,
        rf"\(2, 3, {WORDS}\)",
        lambda: CON.bitmask(STATES, out=np.empty((6, WORDS), np.int32)),
    ),
    "out of another dtype": (
        fm.InputTypeError,
        "int32.*uint32",
        lambda: CON.bitmask(STATES, out=np.empty((2, 3, WORDS), np.uint32)),
    ),
    "out of bytes": (
        fm.InputTypeError,
        "bool.*uint8",
        lambda: CON.allowed(STATES, out=np.empty((2, 3, 257), np.uint8)),
    ),
    "out of another order": (
        fm.InputError,
        "contiguous",
        lambda: CON.bitmask(STATES, out=np.empty((WORDS, 3, 2), np.int32).T),
    ),
    "out read-only": (
        fm.InputError,
        "writable",
        lambda: CON.bitmask(STATES, out=read_only(np.empty((2, 3, WORDS), np.int32))),
    ),
    "out a list": (fm.InputTypeError, "int32, got list", lambda: CON.bitmask(STATES, out=[])),
    # the rest
    "no threads": (fm.InputError, "1 and 1024, got 0", lambda: fm.set_num_threads(0)),
    "too many threads": (fm.InputError, "1 and 1024, got 1025", lambda: fm.set_num_threads(1025)),
    "threads a string": (fm.InputTypeError, "threads", lambda: fm.set_num_threads("2")),
}


def from_regex(regex, tokens=None, **options):
    vocabulary = V if tokens is None else fm.Vocabulary(tokens, 0)
    return fm.Constraint.from_regex(regex, vocabulary, **options)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name):
    expected, words, call = BAD[name]
    with pytest.raises(expected) as caught:
        call()
    assert isinstance(caught.value, fm.FastmaskError)
    assert isinstance(caught.value, BUILT_IN[type(caught.value)])
    assert re.search(words, str(caught.value)), str(caught.value)
    assert len(str(caught.value)) < 600


BAD_TENSORS = {
    "floats": (fm.InputTypeError, "tokens.*float32", lambda t: CON.walk(t.ones(2, 3))),
    "booleans": (fm.InputTypeError, "tokens.*bool", lambda t: CON.walk(t.ones(2, 3, dtype=t.bool))),
    "bfloat16": (fm.InputTypeError, "tokens.*bfloat16", lambda t: CON.walk(t.ones(2, 3, dtype=t.bfloat16))),
    "one row": (fm.InputError, r"two dimensions.*\(3,\)", lambda t: CON.walk(t.tensor([1, 2, 3]))),
    "token beyond": (fm.TokenRangeError, "300 at row 0, position 0", lambda t: CON.walk(t.tensor([[300]]))),
    "sparse": (fm.InputTypeError, "tokens", lambda t: CON.walk(t.ones(2, 3, dtype=t.long).to_sparse())),
    "without data": (fm.InputTypeError, "on meta", lambda t: CON.walk(t.ones(2, 3, dtype=t.long, device="meta"))),
    "states": (fm.InputTypeError, "states.*float32", lambda t: CON.bitmask(t.ones(2))),
    "out of another dtype": (
        fm.InputTypeError,
        "int32.*int64",
        lambda t: CON.bitmask(t.tensor([3]), out=t.empty(1, WORDS, dtype=t.long)),
    ),
    "out of another order": (
        fm.InputError,
        "contiguous",
        lambda t: CON.allowed(t.tensor([3, 4]), out=t.empty(257, 2, dtype=t.bool).T),
    ),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_bad_tensors_are_refused_by_name(name):
    torch = pytest.importorskip("torch")
    expected, words, call = BAD_TENSORS[name]
    with pytest.raises(expected, match=words) as caught:
        call(torch)
    assert isinstance(caught.value, fm.FastmaskError)


def test_every_error_is_a_fastmask_error_and_a_built_in():
    errors = [getattr(fm, name) for name in fm.__all__ if name.endswith("Error") and name != "FastmaskError"]
    assert set(errors) == set(BUILT_IN)
    for error, built_in in BUILT_IN.items():
        assert issubclass(error, fm.FastmaskError)
        assert issubclass(error, built_in)


def test_nothing_is_changed_by_a_refused_call():
    out = np.full((2, WORDS), 7, np.int32)
    with pytest.raises(fm.TokenRangeError):
        CON.bitmask([3, 99], out=out)
    assert (out == 7).all()
    np.testing.assert_array_equal(CON.walk(ROWS), STATES)


def test_what_looks_odd_and_is_right():
    """The border of the refused: these work."""
    assert fm.Vocabulary([b"a"], np.int64(5), size=6).size == 6
    assert fm.Vocabulary([b"a", None], np.array([1])).eos_token_ids == (1,)
    assert fm.Vocabulary((), 0).tokens == [None]
    assert from_regex("cc", [None, b"a"]).distance(3) == -1  # nothing can be spelled: EOS alone, as in DEAD
    assert fm.Constraint.from_choices(iter(["a", "a", ""]), V).is_final(3)
    assert from_regex("a", max_states=float("inf"), max_bytes=1e9, max_seconds=np.int64(9)).is_final(3) is False
    assert fm.Constraint.from_choices({"a": 1, "b": 2}, V).num_states == 5
    from_text = fm.Constraint.from_schema(json.dumps(SCHEMAS["article"]), V)
    assert from_text.fingerprint == fm.Constraint.from_schema(SCHEMAS["article"], V).fingerprint
    assert CON.walk(ROWS, lengths=np.array([0, 3], np.uint8)).tolist()[0] == [CON.initial_state] * 3
    assert CON.allowed_tokens(np.int64(3)).tolist() == [*b"0123456789"]


def test_a_schema_s_file_is_read_and_named(tmp_path):
    path = tmp_path / "article.schema.json"
    for mark in (b"", b"\xef\xbb\xbf"):  # some editors begin a file with it
        path.write_bytes(mark + json.dumps(SCHEMAS["article"]).encode())
        con = fm.Constraint.from_schema(path, V)
        assert con.fingerprint == fm.Constraint.from_schema(SCHEMAS["article"], V).fingerprint
        assert "article.schema.json" in repr(con)
    for text, words in (("{", "is not JSON"), ("[1]", "object or a boolean"), ("[" * 100_000, "nested too deeply")):
        path.write_text(text)
        with pytest.raises(fm.SchemaError, match=rf"article\.schema\.json.*{words}"):
            fm.Constraint.from_schema(path, V)
    with pytest.raises(FileNotFoundError, match="none"):
        fm.Constraint.from_schema(tmp_path / "none", V)


def test_a_schema_that_would_fill_the_memory_is_refused_before_it_does():
    """Seven objects in one another, each with forty optional properties: 40⁷ copies of the innermost pattern."""
    schema: dict = {"type": "string"}
    for _ in range(7):
        schema = {"type": "object", "properties": {**{f"p{i}": {"type": "string"} for i in range(39)}, "inner": schema}}
    with pytest.raises(fm.CompileLimitError, match="max_bytes"):
        fm.Constraint.from_schema(schema, V)
