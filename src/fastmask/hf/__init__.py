"""Constrained generation in transformers."""

from fastmask.hf.dropped import refuse_where_dropped
from fastmask.hf.fitting import vocabulary_for
from fastmask.hf.jump_ahead import JumpAhead, generate_jumping_ahead
from fastmask.hf.processor import ConstraintLogitsProcessor

__all__ = ["ConstraintLogitsProcessor", "JumpAhead", "generate_jumping_ahead", "vocabulary_for"]

refuse_where_dropped(ConstraintLogitsProcessor)
