"""The tokens that a tokenizer itself gives an answer, without the space that some put before a text of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastmask.errors import InputError
from fastmask.vocabulary import Vocabulary

__all__ = ["canonical_tokens", "spelling"]


def canonical_tokens(text: str, tokenizer: Any, vocabulary: Vocabulary) -> list[int]:
    """The ids of ``text``, whose bytes are the text's bytes and nothing more.

    SentencePiece tokenizers put a space before a text of its own (``▁{``); an answer behind a prompt has none, so
    it is taken off.

    Raises:
        InputError: the tokenizer spells the text with other bytes (it normalises, or cannot spell a character).
    """
    ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    if spelling(ids, vocabulary) == b" " + text.encode():
        rest = (vocabulary.tokens[ids[0]] or b"")[1:]
        ids[:1] = [i for i, token in enumerate(vocabulary.tokens) if rest and token == rest][:1]
    spelled = spelling(ids, vocabulary)
    if spelled != text.encode():
        raise InputError(f"the tokenizer spells {text[:60]!r}… as {spelled[:60]!r}…; expected the same bytes")
    return ids


def spelling(ids: Iterable[int], vocabulary: Vocabulary) -> bytes:
    """The bytes of the tokens in a row; special tokens, which are no text, have none."""
    return b"".join(vocabulary.tokens[i] or b"" for i in ids)
