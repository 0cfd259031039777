"""Texts → token ids, at the tokenizer's own speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["token_ids"]


def token_ids(texts: Sequence[str], tokenizer: Any, add_special_tokens: bool) -> list[list[int]]:
    """The ids of each text: those of ``tokenizer(texts, add_special_tokens=…).input_ids``.

    Where ``tokenizer`` adds nothing to what the library ``tokenizers`` does, that is asked directly, and without the
    place of every token in its text, of which nobody here makes use.
    """
    if not texts:
        return []
    options = {"add_special_tokens": add_special_tokens, "return_attention_mask": False}
    if not _is_bare(type(tokenizer)):
        ids: list[list[int]] = tokenizer(list(texts), **options).input_ids
        return ids
    tokenizer("", **options)  # leaves no padding and no truncation from earlier calls in the library's object
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
    return [encoding.ids for encoding in encodings]


def _is_bare(kind: type) -> bool:
    """Is calling it nothing but calling the library? Some models' tokenizers have ways of their own."""
    if kind.__module__.partition(".")[0] != "transformers":
        return False
    from transformers import PreTrainedTokenizerFast

    if not issubclass(kind, PreTrainedTokenizerFast):
        return False
    own = kind.__mro__[: kind.__mro__.index(PreTrainedTokenizerFast)]
    return not any(name in vars(base) for base in own for name in _CALLED)


_CALLED = ("__call__", "_call_one", "_encode_plus", "_batch_encode_plus", "set_truncation_and_padding")
