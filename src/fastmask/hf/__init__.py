"""Constrained generation in transformers."""

from fastmask.hf.fitting import vocabulary_for
from fastmask.hf.jump_ahead import JumpAhead, generate_jumping_ahead
from fastmask.hf.processor import ConstraintLogitsProcessor

__all__ = ["ConstraintLogitsProcessor", "JumpAhead", "generate_jumping_ahead", "vocabulary_for"]
