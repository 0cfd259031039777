"""Constrained generation in transformers."""

from fastmask.hf.processor import ConstraintLogitsProcessor

__all__ = ["ConstraintLogitsProcessor"]
