"""Rows of logits under constraints of their own."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from fastmask.constraint import Constraint
from fastmask.torch import mask_logits

__all__ = ["mask_rows"]


def mask_rows(logits: Tensor, states: Iterable[tuple[int, Constraint, int]]) -> None:
    """``-inf`` in place of what is not allowed, for each (row, constraint, state); other rows are left alone.

    Args:
        logits: floats [B, V], written to.
    """
    groups: dict[Constraint, list[tuple[int, int]]] = {}
    for row, constraint, state in states:
        groups.setdefault(constraint, []).append((row, state))
    for constraint, members in groups.items():
        rows, ids = torch.tensor(members).unbind(1)
        rows = rows.to(logits.device)
        logits[rows] = mask_logits(logits[rows], ids, constraint)
