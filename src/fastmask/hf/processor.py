"""One logits processor for any batch and any way of decoding."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import LogitsProcessor

from fastmask import _core
from fastmask.constraint import Constraint
from fastmask.errors import CutOffWarning, InputError, InputTypeError, TokenRangeError
from fastmask.hf.budget import fit_into, require_budget
from fastmask.hf.generation import Generation, Generations, Group, groups_of
from fastmask.rows import After, integer
from fastmask.select import select
from fastmask.torch import require_width

__all__ = ["ConstraintLogitsProcessor"]


class ConstraintLogitsProcessor(LogitsProcessor):
    """Keeps every generated text within a constraint: ``model.generate(**inputs, logits_processor=[processor])``.

    Nothing tells a logits processor which beam a row came from, that a new generation begins, or that a
    speculated stretch was taken back. So the ids of each call are the only truth: a row's state is that of the
    tokens behind its prompt, whatever happened before; that the last call had most of them already only saves
    time. Greedy decoding, sampling, beams, ``num_return_sequences``, assisted generation, left-padded batches and
    pipelines are all the same to it, and it can be used again.

    Where processors that come before it leave nothing of what the constraint allows (``forced_bos_token_id`` and
    ``forced_eos_token_id`` of BART's configurations, ``min_new_tokens``), the constraint prevails, and all that it
    allows is equally likely.

    A generation begins with the first call whose ids are not one token more than those of a call before. The one
    case that cannot be told apart from a continuation is a new prompt that consists of an earlier prompt, a part of
    what was generated behind it (or nothing), and one more token: give ``prompt_length`` there, or a new processor.

    Args:
        constraint: made for this model's vocabulary; or one for each prompt of the batch, ``None`` = free.
        prompt_length: tokens [:, :prompt_length] are the prompt. ``None``: what the first call brings.
        start: where in the generated text the constraint begins, so that a model may think first. ``None``: at
            once. ``fm.after(token_id)``: behind the first occurrence of that token. A text such as
            ``"<answer>"``: behind its first occurrence, also within a token. Until then every token may come but
            EOS: an answer is always given.
        force_eos: end as soon as the text is complete. Otherwise EOS competes with what may still follow.
        max_new_tokens: as given to ``generate``: only tokens from which the text can still be completed within
            that many are allowed, so that no answer is ever cut off.

    Raises:
        InputTypeError, InputError, TokenRangeError: an argument that does not fit.
        InputError: on a call, if the model's logits are narrower than the constraint's vocabulary,
            ``prompt_length`` lies beyond the ids, there is not one constraint for each prompt, or the shortest
            text has more than ``max_new_tokens`` tokens.
    """

    def __init__(
        self,
        constraint: Constraint | Sequence[Constraint | None],
        prompt_length: int | None = None,
        *,
        start: After | str | None = None,
        force_eos: bool = False,
        max_new_tokens: int | None = None,
    ) -> None:
        constraints = _constraints(constraint)
        self._trigger = None
        if isinstance(start, str):
            later = {con: con.after(start) for con in constraints if con is not None}
            constraints = [None if con is None else later[con] for con in constraints]
        elif isinstance(start, After):
            self._trigger = _trigger(start.token_id, constraints)
        elif start is not None:
            raise InputTypeError(f"start must be fm.after(token_id), a text or None, got {start!r}")
        if not isinstance(force_eos, bool):
            raise InputTypeError(f"force_eos must be True or False, got {force_eos!r}")
        self._constraints = constraints
        self.prompt_length = _natural(prompt_length, "prompt_length")
        self.max_new_tokens = _natural(max_new_tokens, "max_new_tokens")
        self.force_eos = force_eos
        self._generations = Generations()

    @property
    def supports_continuous_batching(self) -> bool:  # type: ignore[override]
        """Asked by continuous batching alone, which would go on without this processor, or without its rows."""
        raise InputError(
            "ConstraintLogitsProcessor has no place in continuous batching: use"
            " fastmask.hf.continuous_batching.constrained_batching(model, constraint)"
        )

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] for ids [B, T] → new scores, ``-inf`` where a token would break the constraint."""
        generation = self._generation(input_ids)
        generated = generation.generated(input_ids)
        masked = self._masked(scores, generation.groups, generated)
        empty = (masked.amax(dim=1) == -torch.inf).cpu().numpy()
        if empty.any():  # a processor before this one forbade all that the constraint allows
            indifferent = self._masked(torch.zeros_like(scores), generation.groups, generated)
            for group in generation.groups:
                rows = torch.from_numpy(group.rows[empty[group.rows]]).to(scores.device)
                masked[rows] = indifferent[rows]
        return masked

    def _masked(self, scores: Tensor, groups: list[Group], generated: npt.NDArray[np.int64]) -> Tensor:
        masked = _room_for(scores, groups)
        for group in groups:
            require_width(scores, group.constraint)
            states = group.states(generated)
            _mask(scores, self._ended(states, group), group, masked)
            if group.trigger is not None:
                _keep_thinking(masked, group, states)
            if self.max_new_tokens is not None:
                fit_into(self.max_new_tokens - generated.shape[1], masked, scores, group, states)
        return masked

    def finished(self, sequences: Tensor) -> Tensor:
        """Which of the sequences that ``generate`` returned hold a whole answer: bool [B].

        Rows without a constraint count as finished.

        Args:
            sequences: ids [B, T] as ``generate`` returned them, prompts included.

        Warns:
            CutOffWarning: some do not, because ``max_new_tokens`` cut them short.

        Raises:
            InputError: the sequences do not begin with the prompts of a generation that this processor has seen.
        """
        finished = torch.ones(len(sequences), dtype=torch.bool)
        length = self._length_of_prompts(sequences)
        for group in groups_of(self._constraints, len(sequences), self._trigger):
            finished[group.rows] = _complete(group, sequences[group.rows, length:])
        missing = int((~finished).sum())
        if missing:
            warnings.warn(
                f"{missing} of {len(sequences)} answers were cut off before they were complete: raise max_new_tokens,"
                " or give it to the processor too, which then steers to an end in time",
                CutOffWarning,
                stacklevel=2,
            )
        return finished.to(sequences.device)

    def _ended(self, states: npt.NDArray[np.int32], group: Group) -> npt.NDArray[np.int32]:
        """With ``force_eos``, a complete text is as good as ended: only EOS may follow."""
        if not self.force_eos:
            return states
        return np.where(group.constraint.is_final(states), np.int32(_core.DONE), states)

    def _generation(self, input_ids: Tensor) -> Generation:
        """The one that these ids belong to, begun if there is none."""
        length = input_ids.shape[1] if self.prompt_length is None else self.prompt_length
        if length > input_ids.shape[1]:
            raise InputError(f"prompt_length {length} lies beyond the {input_ids.shape[1]} ids of this call")
        generation = self._generations.find(lambda known: self._belongs(input_ids, known))
        if generation is None:
            generation = Generation(input_ids, length, self._groups(len(input_ids)))
            self._generations.add(generation)
        return generation

    def _belongs(self, input_ids: Tensor, generation: Generation) -> bool:
        if self.prompt_length is None:
            return generation.continued_by(input_ids)
        return len(generation.prompt) == len(input_ids)  # where the prompt ends is known, and any rows can be read on

    def _groups(self, num_rows: int) -> list[Group]:
        groups = groups_of(self._constraints, num_rows, self._trigger)
        for group in groups:
            require_budget(group, self.max_new_tokens)
        return groups

    def _length_of_prompts(self, sequences: Tensor) -> int:
        if self.prompt_length is not None:
            return self.prompt_length
        for generation in self._generations:
            if generation.returned(sequences):
                return generation.prompt_length
        raise InputError(
            "these sequences do not begin with the prompts of a generation that this processor has seen; give"
            " finished() what generate() returned, or the processor its prompt_length"
        )


def _constraints(given: Any) -> list[Constraint | None]:
    listed = [given] if isinstance(given, Constraint) or not isinstance(given, Sequence) else list(given)
    for constraint in listed:
        if not isinstance(constraint, Constraint) and (constraint is not None or not isinstance(given, Sequence)):
            raise InputTypeError(f"expected a fastmask.Constraint, got {type(constraint).__name__}")
    if not any(listed):
        raise InputTypeError(f"expected a fastmask.Constraint, or one for each prompt, got {given!r}")
    return listed


def _trigger(token_id: int, constraints: list[Constraint | None]) -> int:
    """The token that constraints begin behind, which must be one that can come."""
    for vocabulary in {con.vocabulary for con in constraints if con is not None}:
        if not 0 <= token_id < vocabulary.size:
            raise TokenRangeError(f"start=after({token_id}) lies outside 0 … {vocabulary.size - 1}, the vocabulary")
        if token_id in vocabulary.eos_token_ids:
            raise InputError(f"start=after({token_id}) is an EOS token: generation would end where the answer begins")
    return token_id


def _natural(value: Any, name: str) -> int | None:
    if value is None:
        return None
    number = integer(value, name)
    if number < 0:
        raise InputError(f"{name} must not be negative, got {number}")
    return number


def _room_for(scores: Tensor, groups: list[Group]) -> Tensor:
    """A new tensor like ``scores``, with the rows of no group, which are free, filled in."""
    written = sum(len(group.rows) for group in groups) == len(scores)
    make = torch.empty_like if written else torch.clone
    return make(scores, memory_format=torch.contiguous_format)


def _mask(scores: Tensor, states: npt.NDArray[np.int32], group: Group, masked: Tensor) -> None:
    """Write the group's rows of ``masked``: the scores of allowed tokens, ``-inf`` elsewhere."""
    if scores.device.type == "cpu":
        every = len(group.rows) == len(scores)
        return select(group.constraint, states, scores.contiguous(), masked, None if every else group.rows)
    rows = torch.from_numpy(group.rows).to(scores.device)
    on_device = group.constraint.on(scores.device)
    masked[rows] = on_device.mask(scores[rows], torch.from_numpy(states).to(scores.device))


def _keep_thinking(masked: Tensor, group: Group, states: npt.NDArray[np.int32]) -> None:
    """Before the trigger a text may not end: no answer has been given."""
    waiting = group.rows[states == _core.FREE]
    if waiting.size:
        eos = torch.tensor(group.constraint.vocabulary.eos_token_ids)
        masked[torch.from_numpy(waiting)[:, None], eos] = -torch.inf


def _complete(group: Group, generated: Tensor) -> Tensor:
    """bool [n]: did the text end, or may it? What follows the first EOS is padding."""
    start = 0 if group.trigger is None else After(group.trigger)
    states = group.constraint.walk(generated.cpu(), start=start)
    last = states[:, -1] if states.shape[1] else torch.full(states.shape[:1], group.constraint.initial_state)
    complete: Tensor = (states == _core.DONE).any(dim=1) | group.constraint.is_final(last)
    return complete
