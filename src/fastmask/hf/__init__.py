"""Constrained generation in transformers, and distillation by its ``Trainer``, which is loaded when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastmask.extras import naming_extras

with naming_extras():
    from fastmask.hf.dropped import refuse_where_dropped
    from fastmask.hf.fitting import vocabulary_for
    from fastmask.hf.jump_ahead import JumpAhead, generate_jumping_ahead
    from fastmask.hf.processor import ConstraintLogitsProcessor

if TYPE_CHECKING:
    from fastmask.hf.distillation import ConstrainedDistillationTrainer

__all__ = [
    "ConstrainedDistillationTrainer",
    "ConstraintLogitsProcessor",
    "JumpAhead",
    "generate_jumping_ahead",
    "vocabulary_for",
]

refuse_where_dropped(ConstraintLogitsProcessor)


def __getattr__(name: str) -> Any:
    if name != "ConstrainedDistillationTrainer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastmask.hf.distillation import ConstrainedDistillationTrainer

    return ConstrainedDistillationTrainer
