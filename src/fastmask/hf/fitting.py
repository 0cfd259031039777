"""The vocabulary that fits a model: as wide as its logits, ending on every token that it ends on."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedModel

from fastmask.constraint import Constraint
from fastmask.errors import InputError, InputTypeError, VocabularyError, VocabularyWarning
from fastmask.vocabulary import Vocabulary

__all__ = ["logit_width", "require_one_vocabulary", "vocabulary_for", "warn_of_another_width"]

_PADDING = 1024  # columns; of the models that pad their logits by multiples of 64 … 256, none comes near


def vocabulary_for(model: PreTrainedModel, tokenizer: Any) -> Vocabulary:
    """The tokenizer's vocabulary with the model's own width of logits and all of its EOS ids.

    A model's logits are often wider than its tokenizer, and chat models end on several tokens, of which the
    tokenizer names one: both are the model's to know.

    Whether the tokenizer is the model's own is not: one of another model that has about as many tokens, or fewer, makes
    a vocabulary that fits, and texts that the model cannot mean. Load both by one name.

    Warns:
        VocabularyWarning: the logits are so much wider than the tokenizer that padding does not explain it.

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
    warn_of_another_width(width, len(tokenizer))
    return Vocabulary.from_tokenizer(tokenizer, size=width, eos_token_id=_eos_ids(model, tokenizer))


def warn_of_another_width(width: int, tokens: int) -> None:
    """VocabularyWarning for logits that are wider than any padding makes them: by 1,024 columns and by a quarter."""
    if width > max(tokens + _PADDING, tokens * 1.25):
        warnings.warn(
            f"the model's logits are {width:,} wide and the vocabulary has {tokens:,} tokens, more of a difference than"
            " padding makes: is the tokenizer another model's? If it is not, say so with"
            f" Vocabulary.from_tokenizer(tokenizer, size={width})",
            VocabularyWarning,
            stacklevel=3,
        )


def require_one_vocabulary(constraints: Iterable[Constraint | None]) -> None:
    """Raises InputError for constraints of unequal vocabularies: one model has one."""
    vocabularies = [constraint.vocabulary for constraint in constraints if constraint is not None]
    for vocabulary in vocabularies:
        if vocabulary != vocabularies[0]:
            raise InputError(
                f"the constraints are of different vocabularies, {vocabularies[0]!r} and {vocabulary!r}: make them all"
                " with one, fastmask.hf.vocabulary_for(model, tokenizer)"
            )


def logit_width(model: Any) -> int:
    """The number of columns of a model's logits."""
    head = model.get_output_embeddings()
    return int(head.weight.shape[0] if head is not None else model.config.get_text_config().vocab_size)


def _eos_ids(model: PreTrainedModel, tokenizer: Any) -> list[int] | None:
    named: list[Any] = [getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id]
    ids = {eos for name in named for eos in (name if isinstance(name, Iterable) else [name]) if eos is not None}
    return sorted(ids) or None
