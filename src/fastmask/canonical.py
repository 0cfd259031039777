"""The tokens that a tokenizer itself gives an answer, without the space that some put before a text of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastmask.errors import InputError
from fastmask.vocabulary import Vocabulary

__all__ = ["canonical_tokens", "remove_space", "spelling"]


def canonical_tokens(text: str, tokenizer: Any, vocabulary: Vocabulary) -> list[int]:
    """The ids of ``text``, whose bytes are the text's bytes and nothing more.

    Raises:
        InputError: the tokenizer spells the text with other bytes (it normalises, or cannot spell a character).
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    remove_space(ids, text, vocabulary)
    spelled = spelling(ids, vocabulary)
    if spelled != text.encode():
        raise InputError(f"the tokenizer spells {text[:60]!r}… as {spelled[:60]!r}…; expected the same bytes")
    return ids


def remove_space(ids: list[int], text: str, vocabulary: Vocabulary) -> None:
    """Take out of the ids of ``text`` the space that SentencePiece tokenizers put before a text of its own (``▁{``).

    An answer behind a prompt has none. The text's own spaces stay.
    """
    first = vocabulary.tokens[ids[0]] if ids else None
    if first is None or not first.startswith(b" ") or text.startswith(" "):
        return
    if first == b" ":
        del ids[0]
    elif (bare := vocabulary.id_of(first[1:])) is not None:
        ids[0] = bare


def spelling(ids: Iterable[int], vocabulary: Vocabulary) -> bytes:
    """The bytes of the tokens in a row; special tokens, which are no text, have none.

    Raises:
        TokenRangeError: an id outside the vocabulary.
    """
    return vocabulary.core.spell(np.fromiter(ids, np.int32))
