"""Where the adapters get a constraint's tables on a device: the one place that knows how.

They need two things there, ``advance(states, tokens)`` and ``mask(logits, states)``. Until a constraint has tables
of its own on a device, both go through the host: right everywhere, but not inside a captured CUDA graph.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fastmask.constraint import Constraint
from fastmask.torch import mask_logits

__all__ = ["OnDevice", "on_device"]


class OnDevice(Protocol):
    """A constraint on one device; everything in and out lies there."""

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        """int32 [...] from states [...] and tokens [...], as :meth:`Constraint.advance`."""

    def mask(self, logits: Tensor, states: Tensor) -> Tensor:
        """New logits [..., V], ``-inf`` where states [...] do not allow a token."""


def on_device(constraint: Constraint, device: torch.device) -> OnDevice:
    """The constraint on ``device``."""
    return _ThroughHost(constraint)


class _ThroughHost:
    def __init__(self, constraint: Constraint) -> None:
        self._constraint = constraint

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        following: Tensor = self._constraint.advance(states, tokens)
        return following

    def mask(self, logits: Tensor, states: Tensor) -> Tensor:
        return mask_logits(logits, states, self._constraint)
