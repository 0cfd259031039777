"""Texts → token ids, at the tokenizer's own speed; and what decides about them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

__all__ = ["token_ids", "tokenizer_fingerprint"]


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


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """sha256 (hex) of all that decides about the ids of a text: merges, normaliser, added tokens, templates and so on.

    A vocabulary's fingerprint is about masks, and tells none of that: tokenizers with the same tokens may merge them
    in another order. Of a tokenizer that is not fast it is of the files that it saves, which also tell where it was
    loaded from.
    """
    digest = hashlib.sha256(f"{type(tokenizer).__module__}.{type(tokenizer).__qualname__}".encode())
    for part in _parts(tokenizer):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _parts(tokenizer: Any) -> Iterator[bytes]:
    if getattr(tokenizer, "is_fast", False):
        tokenizer("")  # leaves no padding and no truncation from earlier calls, which decide about nothing here
        yield tokenizer.backend_tokenizer.to_str().encode()
        yield str(tokenizer.split_special_tokens).encode()  # which the library's object does not tell
        return
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for file in sorted(Path(folder).iterdir()):
            yield file.name.encode()
            yield file.read_bytes()


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
