"""The vocabulary that fits a model: as wide as its logits, ending on every token that it ends on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedModel

from fastmask.errors import InputTypeError, VocabularyError
from fastmask.vocabulary import Vocabulary

__all__ = ["vocabulary_for"]


def vocabulary_for(model: PreTrainedModel, tokenizer: Any) -> Vocabulary:
    """The tokenizer's vocabulary with the model's own width of logits and all of its EOS ids.

    A model's logits are often wider than its tokenizer, and chat models end on several tokens, of which the
    tokenizer names one: both are the model's to know.

    Raises:
        InputTypeError: ``model`` is no model.
        VocabularyError: neither model nor tokenizer names an EOS token, or the tokenizer has more tokens than the
            model's logits have columns (it belongs to another model, or the embeddings were not resized).
    """
    if not isinstance(model, PreTrainedModel):
        raise InputTypeError(
            f"vocabulary_for(model, tokenizer) takes a transformers model first, got {type(model).__name__}"
        )
    width = logit_width(model)
    if len(tokenizer) > width:
        raise VocabularyError(
            f"the tokenizer has {len(tokenizer):,} tokens, the model's logits {width:,} columns: it belongs to another"
            " model, or the model needs resize_token_embeddings(len(tokenizer))"
        )
    return Vocabulary.from_tokenizer(tokenizer, size=width, eos_token_id=_eos_ids(model, tokenizer))


def logit_width(model: Any) -> int:
    """The number of columns of a model's logits."""
    head = model.get_output_embeddings()
    return int(head.weight.shape[0] if head is not None else model.config.get_text_config().vocab_size)


def _eos_ids(model: PreTrainedModel, tokenizer: Any) -> list[int] | None:
    named: list[Any] = [getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id]
    ids = {eos for name in named for eos in (name if isinstance(name, Iterable) else [name]) if eos is not None}
    return sorted(ids) or None
