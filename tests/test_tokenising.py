"""Token ids by the batch are those of calling the tokenizer, whatever it was called with before."""

from __future__ import annotations

import copy
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm
from fastmask import _core
from fastmask.canonical import canonical_tokens
from fastmask.corpus.tokenising import token_ids, tokenizer_fingerprint

transformers = pytest.importorskip("transformers")

TEXTS = ["", " ", "{", ' {"a": 1}', "Grüße, 世界 🙂\n\t", "a" * 300, "<|endoftext|>x</s>", "\u202e\x00é"]


@given(st.lists(st.text(), max_size=5), st.booleans())
def test_the_ids_of_a_call(tokenized, texts, special):
    texts = [*texts, *TEXTS]
    expected = tokenized.tokenizer(texts, add_special_tokens=special).input_ids
    assert token_ids(texts, tokenized.tokenizer, special) == expected
    assert token_ids([], tokenized.tokenizer, special) == []


def test_settings_of_earlier_calls_do_not_show(tokenized):
    tokenizer = copy.deepcopy(tokenized.tokenizer)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    texts = [*TEXTS, f"a {tokenizer.eos_token} b"]
    expected = tokenizer(texts, add_special_tokens=False).input_ids
    tokenizer(texts, padding="max_length", truncation=True, max_length=4)
    assert token_ids(texts, tokenizer, False) == expected
    tokenizer.split_special_tokens = True
    split = tokenizer(texts, add_special_tokens=False).input_ids
    assert split != expected
    tokenizer("…", split_special_tokens=False)
    assert token_ids(texts, tokenizer, False) == split


def fast(bpe, change):
    """The sample's tokenizer with its library's object changed, as JSON."""
    from tokenizers import Tokenizer

    library = json.loads(bpe.tokenizer.backend_tokenizer.to_str())
    change(library)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(library)), eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )


def test_the_fingerprint_knows_what_the_vocabulary_does_not(bpe):
    def reversed_merges(library):
        library["model"]["merges"].reverse()

    def lower(library):
        library["normalizer"] = {"type": "Lowercase"}

    same, others = fast(bpe, lambda library: None), [fast(bpe, change) for change in (reversed_merges, lower)]
    known = tokenizer_fingerprint(same)
    same(TEXTS, padding="max_length", truncation=True, max_length=4)
    assert tokenizer_fingerprint(same) == known
    for other in others:
        assert fm.Vocabulary.from_tokenizer(other) == fm.Vocabulary.from_tokenizer(same)
        assert token_ids(TEXTS, other, False) != token_ids(TEXTS, same, False), "it would not matter otherwise"
        assert tokenizer_fingerprint(other) != known
    same.split_special_tokens = True
    assert tokenizer_fingerprint(same) != known


def test_the_fingerprint_of_a_tokenizer_that_is_not_fast():
    def made(**options):
        return tokenizer_fingerprint(transformers.ByT5Tokenizer(**options))

    assert made() == made()
    assert made() != made(extra_ids=3)


def test_a_run_does_not_go_on_with_other_merges(bpe, tmp_path):
    """The vocabulary, and with it every mask, is the same; the ids behind a kill would not be."""
    pytest.importorskip("pyarrow")
    from fastmask.corpus import Annotator, Columns, read_records, write_shards

    (tmp_path / "a.jsonl").write_text('{"answer": "the tea", "ids": [1]}\n')
    other = fast(bpe, lambda library: library["model"]["merges"].reverse())
    con = fm.Constraint.from_regex("(?s).*", fm.Vocabulary.from_tokenizer(bpe.tokenizer))

    def write(tokenizer, **columns):
        annotator = Annotator(con, Columns(**columns), tokenizer)
        out = tmp_path / next(iter(columns))
        write_shards(read_records(tmp_path / "a.jsonl"), annotator, out, settings=annotator.settings)

    write(bpe.tokenizer, answer="answer")
    write(bpe.tokenizer, answer="answer")
    with pytest.raises(
        fm.CorpusError, match=r'of another run: tokenizer was "\w{12}…", is now "\w{12}…"\. Give another'
    ):
        write(other, answer="answer")
    write(bpe.tokenizer, tokens="ids")
    write(other, tokens="ids")  # where nothing is tokenised, it does not matter


@pytest.mark.parametrize("method", ["__call__", "_encode_plus"])
def test_ways_of_its_own_are_respected(bpe, method):
    """A class of someone else's, or one of transformers' that does more than its library."""

    def reversed_call(self, text, **options):
        batch = getattr(super(own, self), method)(text=text, **options)
        batch["input_ids"] = [ids[::-1] for ids in batch["input_ids"]]
        return batch

    base = transformers.PreTrainedTokenizerFast
    for module in ("transformers.models.fake", "elsewhere"):
        own = type("Own", (base,), {"__module__": module, method: reversed_call})
        tokenizer = own(tokenizer_object=bpe.tokenizer.backend_tokenizer)
        expected = bpe.tokenizer(TEXTS, add_special_tokens=False).input_ids
        assert token_ids(TEXTS, tokenizer, False) == [ids[::-1] for ids in expected]


@pytest.mark.parametrize("text", ["", " ", "a", " a", "  x", "{", ' {"a": 1}'])
def test_an_answer_has_its_own_bytes(tokenized, text):
    """The space that a tokenizer puts in front is gone, the text's own stays."""
    ids = canonical_tokens(text, tokenized.tokenizer, tokenized.vocabulary)
    assert b"".join(tokenized.vocabulary.tokens[token] for token in ids) == text.encode()


# ---- lists and spelling -------------------------------------------------------------------------------------

INT32 = st.integers(-(2**31), 2**31 - 1)


@given(st.lists(st.lists(INT32, max_size=9), max_size=9))
def test_rows_become_flat(rows):
    tokens, offsets = _core.flat_rows(rows)
    assert (tokens.dtype, offsets.dtype) == (np.int32, np.int64)
    assert [tokens[begin:end].tolist() for begin, end in pairwise(offsets)] == rows
    assert len(tokens) == offsets[-1] == sum(map(len, rows))


@pytest.mark.parametrize(
    "rows",
    [[[1], [2.0]], [[True]], [(1, 2)], [[None]], [[2**31]], [[-(2**31) - 1]], [[10**30]], [[np.int32(1)]], ["ab"]],
)
def test_what_is_not_plain_is_left_to_numpy(rows):
    assert _core.flat_rows(rows) is None


@given(st.data())
def test_which_rows_spell_their_text(tokenized, data):
    """Against joining the tokens' bytes, with every kind of slip."""
    vocabulary = tokenized.vocabulary
    ids = st.lists(st.integers(0, vocabulary.size - 1), max_size=6)
    rows = data.draw(st.lists(ids, max_size=5))
    spelled = [b"".join(vocabulary.tokens[id] or b"" for id in row) for row in rows]
    texts = []
    for whole in spelled:
        slips = st.sampled_from([whole, whole[:-1], whole + b"x", whole[1:], whole.swapcase(), b""])
        texts.append(data.draw(slips).decode(errors="replace"))
    tokens, offsets = _core.flat_rows(rows)
    expected = [row for row, text in enumerate(texts) if text.encode() != spelled[row]]
    assert _core.misspelled(vocabulary.core, tokens, offsets, texts) == expected


def test_spelling_is_held_to_its_arrays(bpe):
    core = bpe.vocabulary.core
    tokens = np.array([bpe.vocabulary.size], np.int32)
    with pytest.raises(fm.TokenRangeError, match="at position 0 lies outside"):
        _core.misspelled(core, tokens, np.array([0, 1]), ["a"])
    for offsets in ([0, 2], [-1, 1], [1, 0], [0]):
        with pytest.raises(fm.InputError, match=r"outside the tokens|offsets has"):
            _core.misspelled(core, tokens, np.array(offsets), ["a"])
