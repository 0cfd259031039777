"""The tokens that a tokenizer itself gives an answer, without the space that some put before a text of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastmask.errors import InputError
from fastmask.vocabulary import Vocabulary

__all__ = ["canonical_tokens", "spelled_otherwise", "spelling", "without_space"]


def canonical_tokens(text: str, tokenizer: Any, vocabulary: Vocabulary) -> list[int]:
    """The ids of ``text``, whose bytes are the text's bytes and nothing more.

    Raises:
        InputError: the tokenizer spells the text with other bytes (it normalises, or cannot spell a character).
    """
    ids = without_space(tokenizer(text, add_special_tokens=False).input_ids, text, vocabulary)
    spelled = spelling(ids, vocabulary)
    if spelled != text.encode():
        raise InputError(f"the tokenizer spells {text[:60]!r}… as {spelled[:60]!r}…; expected the same bytes")
    return ids


def without_space(ids: Sequence[int], text: str, vocabulary: Vocabulary) -> list[int]:
    """The ids of ``text`` without the space that SentencePiece tokenizers put before a text of its own (``▁{``).

    An answer behind a prompt has none. The text's own spaces stay.
    """
    first = vocabulary.tokens[ids[0]] if ids else None
    if first is None or not first.startswith(b" ") or text.startswith(" "):
        return list(ids)
    if first == b" ":
        return list(ids[1:])
    bare = vocabulary.id_of(first[1:])
    return list(ids) if bare is None else [bare, *ids[1:]]


def spelled_otherwise(
    tokens: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64], texts: Sequence[str], vocabulary: Vocabulary
) -> list[int]:
    """The indices of rows ``tokens[offsets[b] : offsets[b + 1]]`` whose tokens have other bytes than their text."""
    expected = (text.encode() for text in texts)
    rows = (tokens[begin:end] for begin, end in pairwise(offsets.tolist()))
    pairs = enumerate(zip(rows, expected, strict=True))
    return [row for row, (ids, text) in pairs if vocabulary.core.spell(ids) != text]


def spelling(ids: Iterable[int], vocabulary: Vocabulary) -> bytes:
    """The bytes of the tokens in a row; special tokens, which are no text, have none.

    Raises:
        TokenRangeError: an id outside the vocabulary.
    """
    return vocabulary.core.spell(np.fromiter(ids, np.int32))
