"""What the states of a row say about its text."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastmask import _core

__all__ = ["BROKEN", "COMPLETE", "CUT_OFF", "ERROR", "UNCONSTRAINED", "VERDICTS", "Verdicts", "judge"]

VERDICTS = ("complete", "cut off", "broken", "unconstrained", "error")
COMPLETE, CUT_OFF, BROKEN, UNCONSTRAINED, ERROR = range(len(VERDICTS))


class Verdicts(NamedTuple):
    """One for each row."""

    verdict: npt.NDArray[np.int8]
    """[B], an index into :data:`VERDICTS`: the text may end where it does; it is a beginning; a token broke it; the
    row has no constrained part. ``error`` is for rows that could not be judged, and is given elsewhere."""
    error_token: npt.NDArray[np.int32]
    """[B]: index in the row of the first token that broke the constraint, -1 = none."""


def judge(
    states: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    without_tokens: npt.NDArray[np.int32],
    is_final: npt.NDArray[np.bool_],
) -> Verdicts:
    """Verdicts on rows ``states[offsets[b] : offsets[b] + lengths[b]]`` [N], which do not overlap and ascend.

    Args:
        without_tokens: int32 [B], the state of a row that has no tokens.
        is_final: bool [num_states].
    """
    last = without_tokens.copy()
    has_tokens = lengths > 0
    last[has_tokens] = states[(offsets + lengths - 1)[has_tokens]]
    verdict = np.where(is_final[last], COMPLETE, CUT_OFF).astype(np.int8)
    verdict[last == _core.FREE] = UNCONSTRAINED
    broken = np.flatnonzero(last == _core.DEAD)  # once dead, dead to the end
    verdict[broken] = BROKEN
    dead = np.flatnonzero(states == _core.DEAD) if broken.size else broken
    error_token = np.full(len(offsets), -1, np.int32)
    error_token[broken] = dead[np.searchsorted(dead, offsets[broken])] - offsets[broken]
    return Verdicts(verdict, error_token)
