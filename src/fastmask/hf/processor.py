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
from fastmask.errors import CutOffWarning, InputError, InputTypeError
from fastmask.hf.budget import Budget
from fastmask.hf.dropped import NO_PLACE
from fastmask.hf.fitting import warn_of_another_width
from fastmask.hf.generation import Generation, Generations, Group, States, groups_of
from fastmask.hf.rules import rules_of
from fastmask.rows import After, integer
from fastmask.select import select
from fastmask.torch.inputs import require_logits, require_width

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
            EOS: an answer is always given. Or a list with one of these for each constraint.
        force_eos: end as soon as the text is complete. Otherwise EOS competes with what may still follow.
        max_new_tokens: the same number that ``generate`` is given: only tokens from which the text can still be
            completed within that many are allowed, so that no answer is ever cut off. Give ``generate`` less, and
            answers are cut off after all (:meth:`finished` tells).
        answer_tokens: of ``max_new_tokens``, keep as many for the answer behind ``start``: thinking is led to its end
            before. Otherwise a model that thinks too long has room for the shortest answer only.

    Raises:
        InputTypeError, InputError, TokenRangeError: an argument that does not fit; constraints of different
            vocabularies.
        InputTypeError: on a generation's first call, ids or scores that are no tensors of integers and of floats.
        InputError: on a call, if the model's logits are narrower than the constraint's vocabulary,
            ``prompt_length`` lies beyond the ids, there is not one constraint for each prompt, or the shortest
            text has more than ``max_new_tokens`` tokens.

    Warns:
        VocabularyWarning: on a generation's first call, if the logits are wider than the constraint's vocabulary by
            more than padding explains: it may be another model's.
    """

    def __init__(
        self,
        constraint: Constraint | Sequence[Constraint | None],
        prompt_length: int | None = None,
        *,
        start: After | str | Sequence[After | str | None] | None = None,
        force_eos: bool = False,
        max_new_tokens: int | None = None,
        answer_tokens: int = 0,
    ) -> None:
        self._rules = rules_of(constraint, start)
        if not isinstance(force_eos, bool):
            raise InputTypeError(f"force_eos must be True or False, got {force_eos!r}")
        self.force_eos = force_eos
        self.prompt_length = None if prompt_length is None else _natural(prompt_length, "prompt_length")
        self._budget = _budget(max_new_tokens, answer_tokens)
        self._generations = Generations()

    @property
    def supports_continuous_batching(self) -> bool:  # type: ignore[override]
        """Asked by continuous batching alone, which would go on without this processor, or without its rows."""
        raise InputError(NO_PLACE)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] for ids [B, T] → new scores, ``-inf`` where a token would break the constraint."""
        generation, states = self._read(input_ids, scores)
        done = input_ids.shape[1] - generation.prompt_length
        masked = _room_for(scores, generation.groups)
        for group, states_of_group in zip(generation.groups, states, strict=True):
            require_width(scores, group.constraint)
            empty = self._mask(scores, masked, group, states_of_group, done)
            if empty.any():  # a processor before this one forbade all that the constraint allows
                self._mask(torch.zeros_like(scores), masked, group.part(empty), states_of_group[empty], done)
        return masked

    def _mask(
        self, scores: Tensor, masked: Tensor, group: Group, states: npt.NDArray[np.int32], done: int
    ) -> npt.NDArray[np.bool_]:
        """Write the group's rows of ``masked``: the scores of what may come, ``-inf`` elsewhere.

        Returns:
            bool [n]: rows of nothing but ``-inf``.
        """
        kept = _masked(scores, self._ended(states, group), group, masked)
        narrowed = group.rule.token is not None and _keep_thinking(masked, group, states)
        if self._budget is not None:
            narrowed |= self._budget.fit(done, masked, scores, group, states)
        if narrowed:  # what was kept may be gone
            rows = torch.from_numpy(group.rows).to(masked.device)
            kept = (masked[rows].amax(dim=1) > -torch.inf).cpu().numpy()
        return ~kept

    def finished(self, sequences: Any) -> Tensor:
        """Which of the sequences that ``generate`` returned hold a whole answer: bool [B].

        Rows without a constraint count as finished.

        Args:
            sequences: what ``generate`` returned: ids [B, T], prompts included, or what has them as ``sequences``.

        Warns:
            CutOffWarning: some do not, because ``max_new_tokens`` cut them short.

        Raises:
            InputError: the sequences do not begin with the prompts of a generation that this processor has seen.
            InputTypeError: they are no tensor of integers.
        """
        sequences = _ids_of(sequences, "finished")
        finished = torch.ones(len(sequences), dtype=torch.bool)
        length = self._length_of_prompts(sequences, "finished")
        for group in groups_of(self._rules, len(sequences)):
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

    def answers(self, sequences: Any) -> list[str]:
        """The text of each answer, to the letter: behind what it begins behind, up to EOS.

        Of rows without a constraint, all that was generated. Of an answer that was cut off, what there is.

        Args, Raises: as for :meth:`finished`.
        """
        sequences = _ids_of(sequences, "answers")
        length = self._length_of_prompts(sequences, "answers")
        groups = groups_of(self._rules, len(sequences))
        rule_of = {row: group.rule for group in groups for row in group.rows.tolist()}
        free = groups[0].rule._replace(token=None, text=b"")
        return [rule_of.get(row, free).answer(ids) for row, ids in enumerate(sequences[:, length:].tolist())]

    def _ended(self, states: npt.NDArray[np.int32], group: Group) -> npt.NDArray[np.int32]:
        """With ``force_eos``, a complete text is as good as ended: only EOS may follow."""
        if not self.force_eos:
            return states
        return np.where(group.constraint.is_final(states), np.int32(_core.DONE), states)

    def _read(self, input_ids: Tensor, scores: Tensor) -> tuple[Generation, States]:
        """The generation that these ids belong to, begun if there is none, and the states they lead to."""
        length = self.prompt_length
        if length is not None and length > input_ids.shape[1]:
            raise InputError(f"prompt_length {length} lies beyond the {input_ids.shape[1]} ids of this call")
        known = self._generations.first(lambda generation: self._continued(generation, input_ids))
        if known is not None:
            return known
        generation = self._begun(_tensor_of_ids(input_ids, "a processor takes ids [B, T]")[:, :length], scores)
        return generation, generation.read(input_ids)

    def _begun(self, prompt: Tensor, scores: Tensor) -> Generation:
        """A new generation, checked for what no later step will change."""
        require_logits(scores)
        groups = groups_of(self._rules, len(prompt))
        warn_of_another_width(scores.shape[-1], groups[0].constraint.vocab_size)
        for group in groups:
            if self._budget is not None:
                self._budget.require(group.rule)
        generation = Generation(prompt, groups)
        self._generations.add(generation)
        return generation

    def _continued(self, generation: Generation, input_ids: Tensor) -> States | None:
        if self.prompt_length is None:
            return generation.continued_by(input_ids)
        # Where the prompt ends is known, and any rows can be read on.
        return generation.read(input_ids) if len(generation.prompt) == len(input_ids) else None

    def _length_of_prompts(self, sequences: Tensor, method: str) -> int:
        if self.prompt_length is not None:
            return self.prompt_length
        for generation in self._generations:
            if generation.returned(sequences):
                return generation.prompt_length
        raise InputError(
            "these sequences do not begin with the prompts of a generation that this processor has seen; give"
            f" {method}() what generate() returned, or the processor its prompt_length"
        )


def _ids_of(returned: Any, method: str) -> Tensor:
    """The ids [B, T] of what ``generate`` returned: the tensor, or with ``return_dict_in_generate`` what has it."""
    expected = f"{method}() takes what generate() returned, ids [B, T] or an output that has them as sequences"
    return _tensor_of_ids(getattr(returned, "sequences", returned), expected)


def _tensor_of_ids(ids: Any, expected: str) -> Tensor:
    if not isinstance(ids, Tensor):
        raise InputTypeError(f"{expected}, as a tensor, got {type(ids).__name__}")
    if ids.is_floating_point():
        raise InputTypeError(f"{expected}, which are integers, got {ids.dtype}")
    if ids.ndim != 2:
        raise InputError(f"{expected}, got shape {tuple(ids.shape)}")
    return ids


def _natural(value: Any, name: str) -> int:
    number = integer(value, name)
    if number < 0:
        raise InputError(f"{name} must not be negative, got {number}")
    return number


def _budget(max_new_tokens: Any, answer_tokens: Any) -> Budget | None:
    kept = _natural(answer_tokens, "answer_tokens")
    if max_new_tokens is not None:
        return Budget(_natural(max_new_tokens, "max_new_tokens"), kept)
    if kept:
        raise InputError("answer_tokens are kept of max_new_tokens: give both")
    return None


def _room_for(scores: Tensor, groups: list[Group]) -> Tensor:
    """A new tensor like ``scores``, with the rows of no group, which are free, filled in."""
    written = sum(len(group.rows) for group in groups) == len(scores)
    make = torch.empty_like if written else torch.clone
    return make(scores, memory_format=torch.contiguous_format)


def _masked(scores: Tensor, states: npt.NDArray[np.int32], group: Group, masked: Tensor) -> npt.NDArray[np.bool_]:
    """The group's rows under their masks; bool [n]: was anything kept?"""
    if scores.device.type == "cpu":
        every = len(group.rows) == len(scores)
        return select(group.constraint, states, scores.contiguous(), masked, None if every else group.rows)
    rows = torch.from_numpy(group.rows).to(scores.device)
    on_device = group.constraint.on(scores.device)
    masked[rows] = on_device.mask(scores[rows], torch.from_numpy(states).to(scores.device))
    kept: npt.NDArray[np.bool_] = (masked[rows].amax(dim=1) > -torch.inf).cpu().numpy()
    return kept


def _keep_thinking(masked: Tensor, group: Group, states: npt.NDArray[np.int32]) -> bool:
    """Before the answer begins a text may not end. Were there such rows?"""
    waiting = group.rows[states == _core.FREE]
    if waiting.size:
        eos = torch.tensor(group.constraint.vocabulary.eos_token_ids)
        masked[torch.from_numpy(waiting)[:, None], eos] = -torch.inf
    return bool(waiting.size)


def _complete(group: Group, generated: Tensor) -> Tensor:
    """bool [n]: did the text end, or may it? What follows the first EOS is padding."""
    start = 0 if group.rule.token is None else After(group.rule.token)
    states = group.constraint.walk(generated.cpu(), start=start)
    last = states[:, -1] if states.shape[1] else torch.full(states.shape[:1], group.constraint.initial_state)
    complete: Tensor = (states == _core.DONE).any(dim=1) | group.constraint.is_final(last)
    return complete
