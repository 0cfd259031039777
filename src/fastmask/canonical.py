"""The tokens that a tokenizer itself gives an answer, without the space that some put before a text of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastmask.errors import InputError
from fastmask.vocabulary import Vocabulary

__all__ = ["canonical_tokens", "remove_spaces", "spelling"]


def canonical_tokens(text: str, tokenizer: Any, vocabulary: Vocabulary) -> list[int]:
    """The ids of ``text``, whose bytes are the text's bytes and nothing more.

    Raises:
        InputError: the tokenizer spells the text with other bytes (it normalises, or cannot spell a character).
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    remove_spaces([ids], [text], vocabulary)
    spelled = spelling(ids, vocabulary)
    if spelled != text.encode():
        raise InputError(f"the tokenizer spells {text[:60]!r}… as {spelled[:60]!r}…; expected the same bytes")
    return ids


def remove_spaces(rows: Sequence[list[int]], texts: Sequence[str], vocabulary: Vocabulary) -> None:
    """Take out of each row of ids the space that SentencePiece tokenizers put before a text of its own (``▁{``).

    An answer behind a prompt has none. The texts' own spaces stay.
    """
    bare: dict[int, list[int]] = {}  # what stands for a first id, looked up once for each
    for ids, text in zip(rows, texts, strict=True):
        if not ids or text.startswith(" "):
            continue
        first = ids[0]
        if first not in bare:
            bare[first] = _without_space(first, vocabulary)
        if bare[first] != [first]:
            ids[:1] = bare[first]


def _without_space(token: int, vocabulary: Vocabulary) -> list[int]:
    spelled = vocabulary.tokens[token]
    if spelled is None or not spelled.startswith(b" "):
        return [token]
    if spelled == b" ":
        return []
    rest = vocabulary.id_of(spelled[1:])
    return [token] if rest is None else [rest]


def spelling(ids: Iterable[int], vocabulary: Vocabulary) -> bytes:
    """The bytes of the tokens in a row; special tokens, which are no text, have none.

    Raises:
        TokenRangeError: an id outside the vocabulary.
    """
    return vocabulary.core.spell(np.fromiter(ids, np.int32))
