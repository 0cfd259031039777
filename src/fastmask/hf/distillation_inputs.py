"""What the distilling trainer is given: the checks, when it is made."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Trainer

from fastmask._core import FREE, INITIAL
from fastmask.constraint import Constraint
from fastmask.corpus.collate import ConstraintCollator
from fastmask.errors import InputError, InputTypeError
from fastmask.hf.fitting import warn_of_another_width
from fastmask.vocabulary import Vocabulary

__all__ = ["require_annotated", "require_options_of", "require_some_mass", "require_widths"]


def require_options_of(trainer: type[Trainer], options: Iterable[str]) -> None:
    """InputTypeError for a name that neither the trainer nor transformers' has: only the latter would be named."""
    known = [*inspect.signature(trainer.__init__).parameters, *inspect.signature(Trainer.__init__).parameters]
    for name in options:
        if name not in known:
            close = "".join(f"; did you mean {match}?" for match in get_close_matches(name, known, 1))
            raise InputTypeError(f"{trainer.__name__} has no option {name}{close}")


def require_some_mass(penalty: float, target_invalid_mass: float | None) -> None:
    """For KL(a ‖ b) whose b alone is masked: it is infinite where b excludes tokens altogether and a does not."""
    excludes = penalty == math.inf if target_invalid_mass is None else target_invalid_mass == 0
    if excludes:
        raise InputError(
            "this divergence is infinite if disallowed tokens have no mass at all: take a finite penalty, a"
            " target_invalid_mass above 0, or jensen_shannon"
        )


def require_widths(student: int, teacher: int, vocabulary: Vocabulary, reverse: bool) -> None:
    if student < vocabulary.size:
        raise InputError(
            f"the student's logits are {student:,} wide, the constraint's vocabulary {vocabulary.size:,}: make the"
            " constraint for the student, with fastmask.hf.vocabulary_for(student, tokenizer)"
        )
    warn_of_another_width(student, vocabulary.size)
    last = max(np.flatnonzero(vocabulary.token_lengths).max(initial=-1), vocabulary.eos_token_ids[-1])
    if teacher <= last:
        raise InputError(
            f"the teacher's logits are {teacher:,} wide and the student's vocabulary goes up to token {last:,}: they"
            " are compared token by token, so both models need the same tokenizer"
        )
    if reverse and student > teacher:
        raise InputError(
            f"the student's logits are {student:,} wide, the teacher's {teacher:,}: the reverse divergence is infinite"
            " where the student alone has columns; use teacher.resize_token_embeddings"
        )


def require_annotated(name: str, dataset: Any, constraint: Constraint, collator: Any) -> None:
    """Raises InputError for rows of which the collator makes no states, or that have another constraint's.

    The first row stands for all. What it needs only :class:`ConstraintCollator` itself tells: another collator is let
    be, and so is a stream, which would lose its first row.
    """
    if type(collator) is not ConstraintCollator or not hasattr(dataset, "__len__"):
        return
    if not len(dataset):
        raise InputError(f"{name} has no rows: was none of its texts complete, or was nothing read?")
    row = dataset[0]
    if not isinstance(row, Mapping):
        return
    ids, states, start = (row.get(column) for column in ("input_ids", "states", "start"))
    if ids is None or (states is None and start is None and collator.start is None):
        missing = "input_ids" if ids is None else "states"
        raise InputError(
            f"{name} has no {missing}, only {', '.join(row) or 'nothing'}:"
            " fastmask.corpus.annotate(dataset, constraint, columns, tokenizer) adds the columns"
        )
    if not _follow(collator([row]), constraint):
        raise InputError(
            f"{name} has another constraint's states: those of its first row do not follow from one another in this"
            " one. Annotate it with the constraint that the trainer is given"
        )


def _follow(batch: Mapping[str, Tensor], constraint: Constraint) -> bool:
    """Does each state of a text follow from the one before, by the token between them?"""
    states, ids = batch["states"], batch["input_ids"]
    before, after = states[:, :-1], states[:, 1:]
    inside = (before >= INITIAL) & (after != FREE)
    return torch.equal(constraint.advance(before[inside], ids[:, 1:][inside]), after[inside])
