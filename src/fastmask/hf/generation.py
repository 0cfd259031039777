"""One call of ``generate`` in progress: its prompt, and which rows follow which constraint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fastmask import _core
from fastmask.constraint import Constraint
from fastmask.errors import InputError

__all__ = ["Generation", "Group", "groups_of"]


class Group:
    """The rows of a batch that follow one constraint, and how far each was read.

    Args:
        constraint: what their answers must keep to.
        rows: int64, ascending: which rows of the batch they are.
        trigger: the constraint begins behind the first occurrence of this token; ``None``: at once.
    """

    def __init__(self, constraint: Constraint, rows: npt.NDArray[np.int64], trigger: int | None) -> None:
        self.constraint = constraint
        self.rows = rows
        self.trigger = trigger
        self._replay = _core.Replay(constraint.core, trigger)

    def states(self, generated: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """The state of each of the group's rows, int32 [n], after the ids generated so far for the batch, [B, t]."""
        return self._replay.read(generated if len(self.rows) == len(generated) else generated[self.rows])[0]

    def __reduce__(self) -> tuple[object, ...]:
        return Group, (self.constraint, self.rows, self.trigger)


def groups_of(constraints: Sequence[Constraint | None], num_rows: int, trigger: int | None) -> list[Group]:
    """One group for each distinct constraint; rows of ``None`` are in no group.

    transformers repeats each prompt's row for its beams or samples, so ``constraints`` are spread likewise.

    Raises:
        InputError: ``num_rows`` is no multiple of the number of constraints.
    """
    repeats, rest = divmod(num_rows, len(constraints))
    if rest or not repeats:
        raise InputError(
            f"{len(constraints)} constraints were given for a batch of {num_rows} rows; expected one for each prompt"
            " (rows repeated by num_beams or num_return_sequences share their prompt's)"
        )
    rows_of: dict[Constraint, list[int]] = {}
    for prompt, constraint in enumerate(constraints):
        if constraint is not None:
            rows_of.setdefault(constraint, []).extend(range(prompt * repeats, (prompt + 1) * repeats))
    return [Group(constraint, np.array(rows, np.int64), trigger) for constraint, rows in rows_of.items()]


class Generation:
    """One call of ``generate``, known by its prompt: nothing else tells a processor where it began."""

    def __init__(self, prompt: Tensor, groups: list[Group]) -> None:
        self.prompt = prompt.clone()  # [B, prompt length]
        self.groups = groups
        self._longest = prompt.shape[1]

    @property
    def prompt_length(self) -> int:
        return self.prompt.shape[1]

    def continued_by(self, input_ids: Tensor) -> bool:
        """Do these ids belong to this generation? They are longer than the prompt, by rounds of one token each
        (fewer after a speculation failed), and the prompts are untouched: beams move only within a prompt."""
        length = self.prompt_length
        if not length < input_ids.shape[1] <= self._longest + 1:
            return False
        if input_ids.shape[0] != self.prompt.shape[0] or input_ids.device != self.prompt.device:
            return False
        if not torch.equal(input_ids[:, :length], self.prompt):
            return False
        self._longest = max(self._longest, input_ids.shape[1])
        return True

    def returned(self, sequences: Tensor) -> bool:
        """Can ``sequences`` be what this generation returned: does each of them begin with one of its prompts?"""
        prompts = set(map(tuple, self.prompt.tolist()))
        return all(tuple(row) in prompts for row in sequences[:, : self.prompt_length].tolist())
