"""Scores under masks, on a CPU: one pass of the kernel over tensors of any floating-point type."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fastmask.constraint import Constraint

__all__ = ["bits", "select"]

# The kernel moves bit patterns and need not know what they mean.
_SIGNED = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_UNSIGNED = {2: np.uint16, 4: np.uint32, 8: np.uint64}


def select(
    con: Constraint,
    states: npt.NDArray[np.int32],
    scores: Tensor,
    out: Tensor,
    rows: npt.NDArray[np.int64] | None = None,
    forbidden: float = -math.inf,
) -> npt.NDArray[np.bool_]:
    """Write ``scores`` [R, V'] where a token is allowed, ``forbidden`` elsewhere and beyond the vocabulary.

    Args:
        states: int32 [n], of the rows that ``rows`` names; without ``rows``, of all R.
        scores: contiguous, on the CPU, of 2, 4 or 8 bytes an element; V' at least the vocabulary.
        out: like ``scores``; rows without a state are left as they are. May be ``scores``.
        rows: int64 [n].

    Returns:
        bool [n]: was anything kept? Not where all that is allowed was ``forbidden`` already.
    """
    return con.core.select_rows(states, rows, bits(scores), _pattern(scores.dtype, forbidden), bits(out))


def bits(scores: Tensor) -> npt.NDArray[np.unsignedinteger]:
    """A view of the same memory as unsigned integers, which numpy has for every width (for bfloat16 too)."""
    return scores.detach().view(_SIGNED[scores.itemsize]).numpy().view(_UNSIGNED[scores.itemsize])


@cache
def _pattern(dtype: torch.dtype, value: float) -> int:
    return int(bits(torch.tensor([value], dtype=dtype))[0])
