"""Calls of ``generate`` in progress: their prompts, and which rows follow which rule."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fastmask import _core
from fastmask.constraint import Constraint
from fastmask.errors import InputError, TokenRangeError
from fastmask.hf.rules import Rule

__all__ = ["Generation", "Generations", "Group", "States", "groups_of"]

States = list[npt.NDArray[np.int32]]  # of each group, [n]
Found = TypeVar("Found")

_REMEMBERED = 64  # generations that may be interleaved on one processor
_KNOWN_TEXTS = 1 << 14  # of a generation, and 64 for each row: far more than speculation takes back
_NEVER = -1  # no token: what free rows wait for


class Group:
    """The rows of a batch that follow one rule, and how far each was read.

    Args:
        rule: what their texts must keep to.
        rows: int64, ascending: which rows of the batch they are.
    """

    def __init__(self, rule: Rule, rows: npt.NDArray[np.int64]) -> None:
        self.rule = rule
        self.rows = rows
        self._replay = _core.Replay(rule.constraint.core, rule.token)

    @property
    def constraint(self) -> Constraint:
        return self.rule.constraint

    def read(self, generated: npt.NDArray[np.int64]) -> _Reading:
        """The group's rows of the ids generated so far for the batch, [B, t]."""
        return _read(self._replay, generated, self.rows)

    def part(self, chosen: npt.NDArray[np.bool_]) -> Group:
        """Some of its rows."""
        return Group(self.rule, self.rows[chosen])

    def __reduce__(self) -> tuple[object, ...]:
        return Group, (self.rule, self.rows)


_Reading = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]  # see Replay in csrc/replay.h


def _read(replay: _core.Replay, generated: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> _Reading:
    return replay.read(generated if len(rows) == len(generated) else generated[rows])


def groups_of(rules: Sequence[Rule | None], num_rows: int) -> list[Group]:
    """One group for each distinct rule; rows of ``None`` are in no group.

    transformers repeats each prompt's row for its beams or samples, so ``rules`` are spread likewise.

    Raises:
        InputError: ``num_rows`` is no multiple of the number of rules.
    """
    repeats, rest = divmod(num_rows, len(rules))
    if rest or not repeats:
        raise InputError(
            f"{len(rules)} constraints were given for a batch of {num_rows} rows; expected one for each prompt"
            " (rows repeated by num_beams or num_return_sequences share their prompt's)"
        )
    rows_of: dict[Rule, list[int]] = {}
    for prompt, rule in enumerate(rules):
        if rule is not None:
            rows_of.setdefault(rule, []).extend(range(prompt * repeats, (prompt + 1) * repeats))
    return [Group(rule, np.array(rows, np.int64)) for rule, rows in rows_of.items()]


class Generation:
    """One call of ``generate``, known by its prompt and by the texts it came to: nothing else tells a processor.

    Args:
        prompt: ids [B, prompt length].
        groups: which rows follow which rule; the others are free.
    """

    def __init__(self, prompt: Tensor, groups: list[Group]) -> None:
        self.prompt = prompt.clone()
        self.groups = groups
        constrained = np.concatenate([group.rows for group in groups])
        self._free_rows = np.setdiff1d(np.arange(len(prompt)), constrained)
        self._free = _core.Replay(groups[0].constraint.core, _NEVER)
        self._texts: dict[int, None] = {}  # of every row of every call, by number; the newest at the end

    @property
    def prompt_length(self) -> int:
        return self.prompt.shape[1]

    def generated(self, input_ids: Tensor) -> npt.NDArray[np.int64]:
        """What stands behind the prompts, int64 [B, t] on the host."""
        found: npt.NDArray[np.int64] = input_ids[:, self.prompt_length :].cpu().numpy().astype(np.int64, copy=False)
        return found

    def read(self, input_ids: Tensor) -> States:
        """The state of each row, by groups, after ids [B, T] that begin with the prompts."""
        states, _, texts = self._read(input_ids)
        self._remember(texts)
        return states

    def continued_by(self, input_ids: Tensor) -> States | None:
        """What :meth:`read` gives, if these ids belong to this generation.

        They do if, behind the same prompts (beams move only within one), every row is a text that some row was
        before, and one token more: so it is after a speculation failed, too.
        """
        length = self.prompt_length
        if input_ids.shape[0] != self.prompt.shape[0] or input_ids.shape[1] <= length:
            return None
        if input_ids.device != self.prompt.device or not torch.equal(input_ids[:, :length], self.prompt):
            return None
        try:
            states, before, texts = self._read(input_ids)
        except TokenRangeError:
            if self._goes_on(input_ids[:, :-1]):
                raise
            return None  # a longer prompt, with ids of its own (images)
        if not self._known(before):
            return None
        self._remember(texts)
        return states

    def returned(self, sequences: Tensor) -> bool:
        """Can ``sequences`` be what this generation returned: does each of them begin with one of its prompts?"""
        prompts = set(map(tuple, self.prompt.tolist()))
        return all(tuple(row) in prompts for row in sequences[:, : self.prompt_length].tolist())

    def _goes_on(self, input_ids: Tensor) -> bool:
        """Are these ids what a call before had?"""
        try:
            return self._known(self._read(input_ids)[2])
        except TokenRangeError:
            return False

    def _known(self, texts: list[int]) -> bool:
        return all(text in self._texts for text in texts)

    def _read(self, input_ids: Tensor) -> tuple[States, list[int], list[int]]:
        """(states by groups, the texts but for their last tokens, the texts), these of free rows included."""
        generated = self.generated(input_ids)
        readings = [group.read(generated) for group in self.groups]
        everyone = [*readings, _read(self._free, generated, self._free_rows)] if len(self._free_rows) else readings
        before = [text for _, numbers, _ in everyone for text in numbers.tolist()]
        texts = [text for _, _, numbers in everyone for text in numbers.tolist()]
        return [states for states, _, _ in readings], before, texts

    def _remember(self, texts: Iterable[int]) -> None:
        self._texts.update(dict.fromkeys(texts))
        while len(self._texts) > _KNOWN_TEXTS + 64 * len(self.prompt):
            del self._texts[next(iter(self._texts))]

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self.prompt, self.groups, self._texts)


def _restore(prompt: Tensor, groups: list[Group], texts: dict[int, None]) -> Generation:
    generation = Generation(prompt, groups)
    generation._texts = texts
    return generation


class Generations:
    """The generations used last, that used last of all first. Any number of threads may ask."""

    def __init__(self, recent: Iterable[Generation] = ()) -> None:
        self._recent = list(recent)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Generation]:
        with self._lock:
            return iter(list(self._recent))

    def first(self, ask: Callable[[Generation], Found | None]) -> tuple[Generation, Found] | None:
        """The first generation for which ``ask`` finds something, and what it found."""
        with self._lock:
            for known in self._recent:
                found = ask(known)
                if found is not None:
                    self._recent.remove(known)
                    self._recent.insert(0, known)
                    return known, found
            return None

    def add(self, generation: Generation) -> None:
        """Remember one more; what has not been used for longest is forgotten."""
        with self._lock:
            self._recent = [generation, *self._recent[: _REMEMBERED - 1]]

    def __reduce__(self) -> tuple[object, ...]:
        return Generations, (list(self),)
