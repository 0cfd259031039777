"""`mask_texts` on strings `sentence<|endoftext|>{json}`, against outlines-core's Guide stepped one token at a time."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fastmask as fm
from fastmask.corpus import mask_texts
from tests.cases import SCHEMAS, SENTENCES, answer
from tests.compare import outlines_vocabulary, packed

outlines_core = pytest.importorskip("outlines_core")
pytest.importorskip("transformers")


def texts(eos: str) -> list[str]:
    """Whole answers with and without a closing EOS, one cut short, and a sentence that never got one."""
    rows = [" ".join(word for word, _ in sentence) + eos + answer(sentence) for sentence in SENTENCES]
    return [*rows, rows[0] + eos, rows[1][:-20], "no answer at all"]


def guide_masks(index, ids: list[int], start: int, eos: int, words: int) -> np.ndarray:
    """[len(ids), words]: position t is the mask for token t + 1; behind EOS only EOS may come."""
    masks = np.full((len(ids), words), -1, np.int32)
    guide = outlines_core.Guide(index)
    for position in range(start - 1, len(ids)):
        if position >= start and ids[position] == eos:  # a Guide has no state for this
            masks[position:] = packed(np.arange(words * 32) == eos)
            break
        if position >= start:
            guide.advance(ids[position], return_tokens=False)
        guide.write_mask_into(masks[position].ctypes.data, words, masks.itemsize)
    return masks


@pytest.mark.parametrize("schema", SCHEMAS)
def test_same_bits_as_a_guide_stepped_by_hand(tokenized, schema, compared):
    tokenizer, eos, width = tokenized.tokenizer, tokenized.eos, tokenized.vocabulary.size
    con = fm.Constraint.from_schema(SCHEMAS[schema], tokenized.vocabulary)
    regex = outlines_core.json_schema.build_regex_from_schema(json.dumps(SCHEMAS[schema]), None)
    index = outlines_core.Index(regex, outlines_vocabulary(tokenized.tokens, eos))
    found = mask_texts(texts(tokenizer.eos_token), tokenizer, con, start=fm.after(eos))

    words = (width + 31) // 32
    assert found.masks.shape == (*found.input_ids.shape, words)
    for text, ids, length, masks in zip(
        texts(tokenizer.eos_token), found.input_ids, found.lengths, found.masks, strict=True
    ):
        row = ids[:length].tolist()
        assert row == tokenizer(text)["input_ids"]
        assert (ids[length:] == eos).all()
        start = row.index(eos) + 1 if eos in row else length + 1
        expected = guide_masks(index, row, start, eos, words)
        text_positions = slice(start - 1, length)
        np.testing.assert_array_equal(masks[text_positions], expected[text_positions])
        np.testing.assert_array_equal(np.bitwise_count(masks[: start - 1].view(np.uint32)).sum(axis=1), width)
        compared["Guide"] += masks[text_positions].size * 32
    assert (
        con.check(found.input_ids, start=fm.after(eos), lengths=found.lengths).complete.tolist()
        == [True] * 4 + [False] * 2
    )


def test_booleans_are_the_same_masks(bpe):
    con = fm.Constraint.from_schema(SCHEMAS["article"], bpe.vocabulary)
    packed, flags = (
        mask_texts(texts("<|endoftext|>"), bpe.tokenizer, con, fm.after(bpe.eos), packed=p) for p in (True, False)
    )
    np.testing.assert_array_equal(flags.masks, con.allowed(packed.states))
    np.testing.assert_array_equal(flags.states, packed.states)


def test_padding_is_the_lowest_eos(bpe):
    vocabulary = fm.Vocabulary.from_tokenizer(bpe.tokenizer, eos_token_id=[7, 5])
    found = mask_texts(["a", "a longer text"], bpe.tokenizer, fm.Constraint.from_regex("a", vocabulary), 0)
    assert (found.input_ids[0, found.lengths[0] :] == 5).all()
    assert found.lengths[0] < found.lengths[1]


def test_no_texts(bpe):
    con = fm.Constraint.from_regex("a", bpe.vocabulary)
    found = mask_texts([], bpe.tokenizer, con, 0)
    assert (found.input_ids.shape, found.masks.shape) == ((0, 0), (0, 0, (bpe.vocabulary.size + 31) // 32))


def test_bad_texts_are_refused(bpe):
    con = fm.Constraint.from_regex("a", bpe.vocabulary)
    with pytest.raises(fm.InputTypeError, match="list of strings, got 'one text'"):
        mask_texts("one text", bpe.tokenizer, con, 0)
    with pytest.raises(fm.InputTypeError, match=r"list of strings.*3"):
        mask_texts(["one", 3], bpe.tokenizer, con, 0)
    narrow = fm.Constraint.from_regex("a", fm.Vocabulary([b"a"], 1))
    with pytest.raises(fm.TokenRangeError, match="row 0"):
        mask_texts(["some text"], bpe.tokenizer, narrow, 0)
