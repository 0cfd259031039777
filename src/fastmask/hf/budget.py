"""Ending in time: near the end of a budget of tokens, only tokens from which the text can still be completed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fastmask import _core
from fastmask.errors import InputError
from fastmask.hf.generation import Group

__all__ = ["fit_into", "require_budget"]


def require_budget(group: Group, max_new_tokens: int | None) -> None:
    """Raises InputError where not even the shortest text of the group's constraint fits."""
    if max_new_tokens is None:
        return
    needed = _needed_from_start(group)
    if needed < 0:
        raise InputError(f"the vocabulary cannot spell any text of {group.constraint!r}")
    if needed > max_new_tokens:
        raise InputError(
            f"the shortest text of {group.constraint!r} has {needed} tokens"
            f"{', the one it begins behind included' if group.trigger is not None else ''}:"
            f" max_new_tokens must be at least that, got {max_new_tokens}"
        )


def _needed_from_start(group: Group) -> int:
    """Tokens of the shortest answer, its trigger included; -1: there is none."""
    distance: int = group.constraint.distance(group.constraint.initial_state)
    return distance if group.trigger is None or distance < 0 else distance + 1


def fit_into(remaining: int, masked: Tensor, scores: Tensor, group: Group, states: npt.NDArray[np.int32]) -> None:
    """Narrow ``masked`` [B, V], in place, to tokens after which ``remaining - 1`` are enough to complete the text.

    Args:
        remaining: tokens that may still be generated, the one being chosen included.
        states: of the group's rows, int32 [n].
    """
    if group.trigger is not None and remaining <= _needed_from_start(group):
        _begin_answer(masked, scores, group, states)
    transitions = group.constraint.transitions()
    if 0 <= transitions.farthest < remaining:
        return  # from everywhere the end is near enough
    of_text = np.flatnonzero(states >= _core.INITIAL)
    within = transitions.within(states[of_text], np.full(len(of_text), remaining - 1))  # [n, V]
    possible = within.any(axis=1)  # elsewhere it is too late, and a row of nothing but -inf would break samplers
    rows = torch.from_numpy(group.rows[of_text[possible]]).to(masked.device)
    allowed = torch.from_numpy(within[possible]).to(masked.device)
    masked[rows, : allowed.shape[1]] = masked[rows, : allowed.shape[1]].masked_fill(~allowed, -torch.inf)


def _begin_answer(masked: Tensor, scores: Tensor, group: Group, states: npt.NDArray[np.int32]) -> None:
    """No time left to think: only the trigger may come."""
    waiting = torch.from_numpy(group.rows[states == _core.FREE]).to(masked.device)
    masked[waiting] = -torch.inf
    masked[waiting, group.trigger] = scores[waiting, group.trigger]
