"""One logits processor for any batch and any way of decoding."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LogitsProcessor

from fastmask.constraint import Constraint
from fastmask.errors import InputError, InputTypeError
from fastmask.rows import integer
from fastmask.torch import mask_logits

__all__ = ["ConstraintLogitsProcessor"]

_REMEMBERED_PROMPTS = 16  # generations that may be interleaved on one processor


class ConstraintLogitsProcessor(LogitsProcessor):
    """Keeps every generated text within a constraint: ``model.generate(**inputs, logits_processor=[processor])``.

    Nothing tells a logits processor which beam a row came from, that a new generation begins, or that a
    speculated stretch was taken back. So nothing is remembered but the prompts: each call replays the tokens
    behind the prompt from the ids it is given, at a few nanoseconds a token. Greedy decoding, sampling, beams,
    ``num_return_sequences``, left-padded batches and pipelines are all the same to it, and it can be used again.

    A generation begins with the first call whose ids do not continue a prompt seen before by one token or
    less. The one case that cannot be told apart from a continuation is a new prompt that itself begins with an
    earlier prompt *and* is no longer than that generation got: give ``prompt_length`` there, or a new processor.

    Args:
        constraint: made for this model's vocabulary.
        prompt_length: tokens [:, :prompt_length] are the prompt. ``None``: what the first call brings.

    Raises:
        InputError: on a call, if the model's logits are narrower than the constraint's vocabulary or
            ``prompt_length`` lies beyond the ids.
    """

    def __init__(self, constraint: Constraint, prompt_length: int | None = None) -> None:
        if not isinstance(constraint, Constraint):
            raise InputTypeError(f"expected a fastmask.Constraint, got {type(constraint).__name__}")
        self.constraint = constraint
        self.prompt_length = None if prompt_length is None else integer(prompt_length, "prompt_length")
        if self.prompt_length is not None and self.prompt_length < 0:
            raise InputError(f"prompt_length must not be negative, got {self.prompt_length}")
        self._generations: list[_Generation] = []

    @property
    def supports_continuous_batching(self) -> bool:  # type: ignore[override]
        """Asked by continuous batching alone, which would go on without this processor, or without its rows."""
        raise InputError(
            "ConstraintLogitsProcessor has no place in continuous batching: use"
            " fastmask.hf.continuous_batching.constrained_batching(model, constraint)"
        )

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] for ids [B, T] → new scores, ``-inf`` where a token would break the constraint."""
        return mask_logits(scores, self._states(input_ids), self.constraint)

    def _states(self, input_ids: Tensor) -> Tensor:
        """The state of each row after the ids so far, [B] int32."""
        length = self._prompt_length(input_ids)
        if length > input_ids.shape[1]:
            raise InputError(f"prompt_length {length} lies beyond the {input_ids.shape[1]} ids of this call")
        if length == input_ids.shape[1]:
            initial = self.constraint.initial_state
            return torch.full(input_ids.shape[:1], initial, dtype=torch.int32, device=input_ids.device)
        states: Tensor = self.constraint.walk(input_ids[:, length:])
        return states[:, -1]

    def _prompt_length(self, input_ids: Tensor) -> int:
        if self.prompt_length is not None:
            return self.prompt_length
        for generation in self._generations:
            if generation.continued_by(input_ids):
                return generation.prompt.shape[1]
        self._generations = [_Generation(input_ids), *self._generations[: _REMEMBERED_PROMPTS - 1]]
        return input_ids.shape[1]


class _Generation:
    """One call of ``generate`` in progress, known by its prompt."""

    def __init__(self, prompt: Tensor) -> None:
        self.prompt = prompt.clone()
        self._longest = prompt.shape[1]

    def continued_by(self, input_ids: Tensor) -> bool:
        """Do these ids belong to this generation? They are longer than the prompt, by rounds of one token each
        (fewer after a speculation failed), and the prompts are untouched: beams move only within a prompt."""
        length = self.prompt.shape[1]
        if not length < input_ids.shape[1] <= self._longest + 1:
            return False
        if input_ids.shape[0] != self.prompt.shape[0] or input_ids.device != self.prompt.device:
            return False
        if not torch.equal(input_ids[:, :length], self.prompt):
            return False
        self._longest = max(self._longest, input_ids.shape[1])
        return True
