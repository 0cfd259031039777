"""vLLM's Model Runner V2: ``vllm.v1.worker.gpu.sample.logits_processor.LogitsProcessor``, as of vLLM 0.33.0.

The interface: ``interface.py`` there and ``docs/features/custom_logitsprocs.md``. Requests lie in slots, which are
used again. A sampled token stays on the device and nobody tells the host of it: it is read there once a step, as the
token that a row of logits was computed from. That waits for the device, so with a constraint in the batch the host
does not run ahead. A constraint's tables on the device would spare the wait, but making them can take seconds, in
which every request would stand still.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcessor, LogitsProcRequestState

from fastmask.constraint import Constraint
from fastmask.progress import Progress
from fastmask.vllm.masks import mask_rows
from fastmask.vllm.requests import Constraints, require_supported, validate

__all__ = ["ConstraintLogitsProcessor"]


class ConstraintLogitsProcessor(LogitsProcessor):  # type: ignore[misc]
    """Keeps requests within the constraints that they ask for: ``fastmask.vllm.v2:ConstraintLogitsProcessor``.

    Not yet run inside vLLM; tested against a stand-in of its interface.

    Raises:
        InputError: speculative decoding or batch-sharded sampling is on, or there is no tokenizer.
    """

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Before a request is queued.

        Raises:
            ValueError: ``extra_args["fastmask"]`` names no constraint that could be kept.
        """
        validate(sampling_params)

    def __init__(self, vllm_config: Any, req_states: LogitsProcRequestState) -> None:
        require_supported(vllm_config)
        self._constraints = Constraints(vllm_config)
        self._state = req_states
        self._slots: dict[int, _Request] = {}
        self._new: list[int] = []  # slots whose requests have entered, but whose tokens are not there yet

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """A request enters a slot. Returns whether it asks for a constraint."""
        self._slots.pop(req_idx, None)
        constraint = self._constraints.of(sampling_params)
        if constraint is None:
            return False
        self._slots[req_idx] = _Request(constraint)
        self._new.append(req_idx)
        return True

    def apply_staged_writes(self) -> None:
        """Read what the requests that have entered bring along: text that they had generated when preempted."""
        for slot in self._new:
            if slot in self._slots:
                prompt, filled = int(self._state.prompt_len.np[slot]), int(self._state.prefill_len.np[slot])
                brought = self._state.all_token_ids.gpu[slot, prompt:filled].tolist() if filled > prompt else []
                self._slots[slot].enter(brought, filled)
        self._new.clear()

    def apply(self, logits: Tensor, ctx: LogitsContext) -> Tensor:
        """Logits [rows, V], in place: ``-inf`` where a token would break its request's constraint."""
        # Without speculation a request has one row, so the host knows which row is which slot's.
        own = [(row, self._slots[slot]) for row, slot in enumerate(ctx.idx_mapping_np.tolist()) if slot in self._slots]
        if own:
            positions, tokens = torch.stack([ctx.pos.long(), ctx.input_ids.long()]).tolist()
            states = [(row, each.constraint, each.state(positions[row] + 1, tokens[row])) for row, each in own]
            mask_rows(logits, states)
        return logits


class _Request:
    """A constraint, and how far the request's text was read."""

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint
        self._length = 0  # tokens read, the prompt included
        self._state = constraint.initial_state

    def enter(self, generated: list[int], length: int) -> None:
        self._state, self._length = Progress(self.constraint).state(generated), length

    def state(self, length: int, last_token: int) -> int:
        """The state of ``length`` tokens, prompt included. Within the prompt, or what is computed again after a
        preemption, the last of them is nothing new."""
        if length > self._length:
            self._state, self._length = self.constraint.advance(self._state, last_token), length
        return self._state
