"""The vocabulary: the raw bytes of every token, and which ids end a text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fastmask import _core
from fastmask.errors import InputTypeError, VocabularyError
from fastmask.rows import integer
from fastmask.token_bytes import TokenBytes, bytes_of_tokenizer

__all__ = ["Vocabulary"]

_MAX_SIZE = 2**31 - 2  # token ids are int32


class Vocabulary:
    """The bytes of every token, the ids that end a text, and the width of the model's logits.

    Immutable, picklable, hashable by content, safe to share between threads. The token trie is built when a
    constraint first needs it and then shared by all constraints of this vocabulary.

    Args:
        tokens: the bytes of token 0, 1, …; ``None`` for a token that is never text (special tokens, gaps).
            An empty token is allowed wherever text is and changes nothing.
        eos_token_id: the id, or ids, that end a text. They are never text, whatever their bytes.
        size: the width of the logits, at least ``len(tokens)``; columns beyond the tokens are never allowed.
            ``None``: the tokens, and the EOS ids directly behind them.

    Raises:
        VocabularyError: no EOS id, an EOS id outside the vocabulary or, without ``size``, beyond a gap behind the
            tokens, or a ``size`` below the number of tokens or beyond int32.
        InputTypeError: ``tokens`` that are no list, a token that is neither bytes nor ``None``, an id or a ``size``
            that is not an integer.
    """

    def __init__(
        self, tokens: Sequence[bytes | None], eos_token_id: int | Iterable[int], size: int | None = None
    ) -> None:
        if not isinstance(tokens, Sequence):  # an iterator would be used up by the check
            raise InputTypeError(f"tokens must be a list of bytes, token 0 first, got {type(tokens).__name__}")
        for token_id, token in enumerate(tokens):
            if token is not None and not isinstance(token, bytes):
                raise InputTypeError(
                    f"token {token_id} must be bytes or None, got {token!r}; a tokenizer's strings are not its bytes:"
                    " use Vocabulary.from_tokenizer"
                )
        self._set(TokenBytes.of(tokens), eos_token_id, size)

    @classmethod
    def from_tokenizer(
        cls, tokenizer: Any, size: int | None = None, eos_token_id: int | Iterable[int] | None = None
    ) -> Vocabulary:
        """The vocabulary of a Hugging Face tokenizer (fast or slow) or a ``tiktoken.Encoding``.

        Byte-level BPE (GPT-2, Llama 3, Qwen, …) and SentencePiece with or without byte fallback (Llama 2,
        Gemma, T5, …) are read exactly, partial UTF-8 included. Added tokens stand for their text, special
        tokens for none.

        Args:
            tokenizer: the tokenizer.
            size: the width of the model's logits (``model.config.vocab_size``), often more than the tokens.
            eos_token_id: overrides the tokenizer's own; give the model's list where it ends on several
                (``model.generation_config.eos_token_id``).

        Raises:
            VocabularyError: the tokenizer's scheme loses bytes (WordPiece, …), it has no EOS token and none
                was given, or ``size`` is below the number of tokens.
            InputTypeError: not a tokenizer, an id or a ``size`` that is not an integer.
        """
        tokens = bytes_of_tokenizer(tokenizer)
        if eos_token_id is None:
            eos_token_id = getattr(tokenizer, "eos_token_id", getattr(tokenizer, "eot_token", None))
        vocabulary = cls.__new__(cls)
        vocabulary._set(tokens, eos_token_id, size)
        return vocabulary

    def _set(self, tokens: TokenBytes, eos_token_id: int | Iterable[int] | None, size: int | None) -> None:
        eos_ids = _eos_ids(eos_token_id)
        behind = [eos for eos in eos_ids if eos >= len(tokens)]
        needed = len(tokens) + (len(behind) if size is None else 0)
        self._size = needed if size is None else integer(size, "size")
        if self._size > _MAX_SIZE:
            raise VocabularyError(f"a vocabulary has at most {_MAX_SIZE:,} ids, got size {self._size:,}")
        if self._size < needed:
            raise VocabularyError(
                f"size={self._size:,} is too small: the width of the model's logits must cover all {needed:,} tokens"
            )
        outside = [eos for eos in eos_ids if not 0 <= eos < self._size]
        if outside and size is None and outside[0] > 0:
            raise VocabularyError(
                f"EOS id {outside[0]:,} lies beyond the {len(tokens):,} tokens, and not directly behind them; pass"
                " size=…, the width of the model's logits, if there are ids between that are no tokens"
            )
        if outside:
            raise VocabularyError(f"EOS id {outside[0]} lies outside 0 … {self._size - 1}, the vocabulary")
        self._token_bytes = tokens
        self._eos_ids = eos_ids

    @property
    def size(self) -> int:
        """Width of the logits: ids are 0 … ``size - 1``."""
        return self._size

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The ids that end a text, ascending; at least one."""
        return self._eos_ids

    @cached_property
    def tokens(self) -> list[bytes | None]:
        """The bytes of each of the ``size`` ids; ``None`` = never text. EOS ids are ``None``."""
        tokens = self._token_bytes.to_list() + [None] * (self._size - len(self._token_bytes))
        for eos in self._eos_ids:
            tokens[eos] = None
        return tokens

    @cached_property
    def token_lengths(self) -> npt.NDArray[np.int32]:
        """Bytes of each of the ``size`` ids, int32; 0 for what is never text."""
        lengths = np.zeros(self._size, np.int32)
        lengths[: len(self._token_bytes)] = np.diff(self._token_bytes.offsets) * self._token_bytes.is_text
        lengths[list(self._eos_ids)] = 0
        return lengths

    def id_of(self, token: bytes) -> int | None:
        """The lowest id with exactly these bytes, if there is one."""
        return self._id_of.get(token)

    @cached_property
    def _id_of(self) -> dict[bytes, int]:
        return {token: i for i, token in reversed(list(enumerate(self.tokens))) if token is not None}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of everything that decides about masks: equal vocabularies have equal fingerprints."""
        digest = hashlib.sha256(b"fastmask vocabulary 1")
        for part in (
            np.array([self._size, *self._eos_ids], "<i8"),
            self._token_bytes.offsets.astype("<i8"),
            self._token_bytes.is_text,
        ):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part.tobytes())
        digest.update(self._token_bytes.data)
        return digest.hexdigest()

    @cached_property
    def core(self) -> _core.Vocabulary:
        """The kernel's form, with the token trie; built once."""
        tokens = self._token_bytes
        return _core.Vocabulary(tokens.data, tokens.offsets, tokens.is_text, self._size, list(self._eos_ids))

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self is other or self.fingerprint == other.fingerprint)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._token_bytes, self._eos_ids, self._size)

    def __repr__(self) -> str:
        return f"Vocabulary(size={self._size:,}, eos_token_ids={self._eos_ids})"


def _restore(tokens: TokenBytes, eos_ids: tuple[int, ...], size: int) -> Vocabulary:
    vocabulary = Vocabulary.__new__(Vocabulary)
    vocabulary._set(tokens, eos_ids, size)
    return vocabulary


def _eos_ids(eos_token_id: int | Iterable[int] | None) -> tuple[int, ...]:
    """One id or several as an ascending tuple without repeats."""
    if eos_token_id is None:
        raise VocabularyError(
            "this tokenizer names no EOS token, without which no text could end: give it one (eos_token in its"
            " tokenizer_config.json), or pass eos_token_id=… (an id or several)"
        )
    ids = eos_token_id if isinstance(eos_token_id, Iterable) else [eos_token_id]
    try:
        unique = tuple(sorted({integer(eos, "eos_token_id") for eos in ids}))
    except InputTypeError:
        raise InputTypeError(f"eos_token_id must be a token id or several, got {eos_token_id!r}") from None
    if not unique:
        raise VocabularyError("eos_token_id is empty: without an EOS token no text could end")
    return unique
