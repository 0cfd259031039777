"""Calls of ``generate`` in progress: their prompts, and which rows follow which constraint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fastmask import _core
from fastmask.constraint import Constraint
from fastmask.errors import InputError

__all__ = ["Generation", "Generations", "Group", "groups_of"]

_REMEMBERED = 64  # generations that may be interleaved on one processor


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
    """One call of ``generate``, known by its prompt and by the texts it came to: nothing else tells a processor.

    Args:
        input_ids: of the first call, [B, T]; they begin with the prompts.
        prompt_length: how much of them.
        groups: which rows follow which constraint.
    """

    def __init__(self, input_ids: Tensor, prompt_length: int, groups: list[Group]) -> None:
        self.prompt = input_ids[:, :prompt_length].clone()  # [B, prompt length]
        self.groups = groups
        self._known = set(_fingerprints(self.generated(input_ids)))  # of every row of every call

    @property
    def prompt_length(self) -> int:
        return self.prompt.shape[1]

    def generated(self, input_ids: Tensor) -> npt.NDArray[np.int64]:
        """What stands behind the prompts, int64 [B, t] on the host."""
        found: npt.NDArray[np.int64] = input_ids[:, self.prompt_length :].cpu().numpy().astype(np.int64, copy=False)
        return found

    def continued_by(self, input_ids: Tensor) -> bool:
        """Do these ids belong to this generation? Behind the same prompts (beams move only within one), every row
        is a text that some row was before, and one token more: also after a speculation failed."""
        length = self.prompt_length
        if input_ids.shape[0] != self.prompt.shape[0] or input_ids.shape[1] <= length:
            return False
        if input_ids.device != self.prompt.device or not torch.equal(input_ids[:, :length], self.prompt):
            return False
        generated = self.generated(input_ids)
        if not self._known.issuperset(_fingerprints(generated[:, :-1])):
            return False
        self._known.update(_fingerprints(generated))
        return True

    def returned(self, sequences: Tensor) -> bool:
        """Can ``sequences`` be what this generation returned: does each of them begin with one of its prompts?"""
        prompts = set(map(tuple, self.prompt.tolist()))
        return all(tuple(row) in prompts for row in sequences[:, : self.prompt_length].tolist())


class Generations:
    """The generations used last, that used last of all first. Any number of threads may ask."""

    def __init__(self, recent: Iterable[Generation] = ()) -> None:
        self._recent = list(recent)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Generation]:
        with self._lock:
            return iter(list(self._recent))

    def find(self, belongs: Callable[[Generation], bool]) -> Generation | None:
        """The first that ``belongs`` says is the one."""
        with self._lock:
            found = next(filter(belongs, self._recent), None)
            if found is not None:
                self._recent.remove(found)
                self._recent.insert(0, found)
            return found

    def add(self, generation: Generation) -> None:
        """Remember one more; what has not been used for longest is forgotten."""
        with self._lock:
            self._recent = [generation, *self._recent[: _REMEMBERED - 1]]

    def __reduce__(self) -> tuple[object, ...]:
        return Generations, (list(self),)


def _fingerprints(rows: npt.NDArray[np.int64]) -> list[int]:
    """A number for each row [B, t]: the same for equal rows and, but for a chance in 2**64, for no others."""
    length = rows.shape[1]
    weights = _weights(1 << length.bit_length())[:length]
    return ((rows + 1) @ weights).tolist()  # type: ignore[no-any-return]


@cache
def _weights(count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(0).integers(-(2**63), 2**63 - 1, count)
