"""How many tokens are allowed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastmask.constraint import Constraint

__all__ = ["allowed_counts"]

_BYTES_AT_ONCE = 1 << 26


def allowed_counts(con: Constraint, states: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The number of tokens allowed in each of the states [n], in bounded memory.

    Raises:
        TokenRangeError: a state outside 0 … ``num_states - 1``.
    """
    at_once = max(1, _BYTES_AT_ONCE * 8 // con.vocab_size)
    counts = np.empty(len(states), np.int64)
    for begin in range(0, len(states), at_once):
        bits = con.bitmask(states[begin : begin + at_once]).view(np.uint32)
        counts[begin : begin + at_once] = np.bitwise_count(bits).sum(axis=-1)
    return counts
