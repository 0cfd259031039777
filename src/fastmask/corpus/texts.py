"""Masks for texts by the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastmask.constraint import Constraint
from fastmask.rows import After, strings

__all__ = ["TextMasks", "mask_texts"]


class TextMasks(NamedTuple):
    """Every position of every text; position ``t`` of ``states`` and ``masks`` goes with ``logits[b, t]``."""

    input_ids: npt.NDArray[np.int64]
    """[B, T], padded on the right with the vocabulary's lowest EOS id."""
    lengths: npt.NDArray[np.int64]
    """[B] tokens of each text."""
    states: npt.NDArray[np.int32]
    """[B, T]; positions past a text's length repeat its last state."""
    masks: npt.NDArray[Any]
    """Allowed tokens: int32 [B, T, ceil(V / 32)] packed, or bool [B, T, V]."""


def mask_texts(
    texts: Sequence[str], tokenizer: Any, con: Constraint, start: int | After | Any, packed: bool = True
) -> TextMasks:
    """The tokens allowed at every position of a batch of texts such as ``sentence<|endoftext|>{json}``.

    One call of the tokenizer, one walk, one gather. Each text is tokenised as a whole, with the special tokens
    that its tokenizer adds by default. SentencePiece tokenizers put a space before the first word of a *text*
    only, so the answer behind a special token begins as it should; an answer tokenised alone would begin with
    ``▁{``, which the constraint refuses.

    Args:
        texts: strings, separators such as ``<|endoftext|>`` written out.
        tokenizer: a Hugging Face tokenizer, the one that ``con`` was made for.
        start: where the constrained part begins, as for :meth:`Constraint.walk`; usually
            ``fm.after(tokenizer.eos_token_id)``.
        packed: bits as from :meth:`Constraint.bitmask`; ``False``: booleans, eight times larger.

    Raises:
        InputTypeError: ``texts`` is no list of strings.
        TokenRangeError: the tokenizer gives ids beyond the constraint's vocabulary.
    """
    listed = strings(texts, "texts")
    ids = tokenizer(listed)["input_ids"] if listed else []
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    states = con.walk(ids, start=start)
    padded = np.full(states.shape, con.vocabulary.eos_token_ids[0], dtype=np.int64)
    for row, row_ids in zip(padded, ids, strict=True):
        row[: len(row_ids)] = row_ids
    return TextMasks(padded, lengths, states, con.bitmask(states) if packed else con.allowed(states))
