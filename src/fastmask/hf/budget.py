"""Ending in time: near the end of a budget of tokens, only tokens from which the text can still be completed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fastmask import _core
from fastmask.errors import InputError
from fastmask.hf.generation import Group
from fastmask.hf.rules import Rule

__all__ = ["Budget"]


@dataclass(frozen=True)
class Budget:
    """How many tokens a text may have."""

    max_new_tokens: int
    """Of the whole text, what comes before the answer included."""
    answer_tokens: int
    """How many of them are kept for the answer, where one may think before it."""

    def require(self, rule: Rule) -> None:
        """Raises InputError where not even the shortest text of a rule fits."""
        if rule.shortest_answer < 0:
            raise InputError(f"the vocabulary cannot spell any text of {rule.constraint!r}")
        needed = rule.needed(self.answer_tokens)
        if needed > self.max_new_tokens:
            raise InputError(
                f"the shortest text of {rule.constraint!r} has {rule.needed(0)} tokens{_with_trigger(rule)}"
                f"{f', {needed} with answer_tokens={self.answer_tokens}' if needed > rule.needed(0) else ''}:"
                f" max_new_tokens must be at least that, got {self.max_new_tokens}"
            )

    def fit(self, done: int, masked: Tensor, scores: Tensor, group: Group, states: npt.NDArray[np.int32]) -> bool:
        """Narrow ``masked`` [B, V], in place, to tokens after which enough are left to complete the text.

        Returns whether there was anything to narrow.

        Args:
            done: tokens generated so far.
            scores: what ``masked`` was before it was masked.
            states: of the group's rows, int32 [n].
        """
        rule, remaining = group.rule, self.max_new_tokens - done  # the token being chosen included
        begun = rule.token is not None and remaining <= rule.needed(self.answer_tokens)
        if begun:
            _begin_answer(masked, scores, group, states)
        distances = rule.constraint.distances
        spared = max(self.answer_tokens - rule.shortest_answer, 0) if rule.text else 0
        if 0 <= distances.farthest < remaining - spared:
            return begun  # from everywhere the end is near enough
        of_text = np.flatnonzero(states >= _core.INITIAL)
        limits = np.where(states[of_text] < rule.first_answering, remaining - 1 - spared, remaining - 1)
        within = distances.within(states[of_text], limits)  # [n, V]
        possible = within.any(axis=1)  # elsewhere it is too late, and the mask alone must do
        rows = torch.from_numpy(group.rows[of_text[possible]]).to(masked.device)
        allowed = torch.from_numpy(within[possible]).to(masked.device)
        masked[rows, : allowed.shape[1]] = masked[rows, : allowed.shape[1]].masked_fill(~allowed, -torch.inf)
        return True


def _with_trigger(rule: Rule) -> str:
    return "" if rule.token is None else ", the one it begins behind included"


def _begin_answer(masked: Tensor, scores: Tensor, group: Group, states: npt.NDArray[np.int32]) -> None:
    """No time left to think: only the token that the answer begins behind may come."""
    waiting = torch.from_numpy(group.rows[states == _core.FREE]).to(masked.device)
    masked[waiting] = -torch.inf
    masked[waiting, group.rule.token] = scores[waiting, group.rule.token]
