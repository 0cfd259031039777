"""vLLM's older model runner: ``vllm.v1.sample.logits_processor.LogitsProcessor``, as of vLLM 0.33.0.

The interface: ``interface.py`` and ``docs/design/logits_processors.md`` there. Requests lie in rows of a persistent
batch; each step tells of rows removed, added and moved, in this order, and hands over each new request's list of
output tokens, which goes on growing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from fastmask.constraint import Constraint
from fastmask.errors import GenerationError
from fastmask.progress import Progress
from fastmask.vllm.masks import mask_rows
from fastmask.vllm.requests import Constraints, require_supported, validate

__all__ = ["ConstraintLogitsProcessor"]


class ConstraintLogitsProcessor(LogitsProcessor):  # type: ignore[misc]
    """Keeps requests within the constraints that they ask for: ``fastmask.vllm.v1:ConstraintLogitsProcessor``.

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

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        require_supported(vllm_config)
        self._constraints = Constraints(vllm_config)
        self._rows: dict[int, _Request] = {}

    def is_argmax_invariant(self) -> bool:
        """False: the likeliest token may not be allowed."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the requests to their new rows. Their tokens are not read yet: with asynchronous scheduling the
        last one is still a placeholder, and replaced before :meth:`apply`."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._rows.pop(row, None)
        for row, params, _, output_ids in batch_update.added:
            self._put(row, self._request(params, output_ids))
        for source, target, direction in batch_update.moved:
            displaced = self._rows.pop(target, None)
            self._put(target, self._rows.pop(source, None))
            if direction == MoveDirectionality.SWAP:
                self._put(source, displaced)

    def apply(self, logits: Tensor) -> Tensor:
        """Logits [rows, V], in place: ``-inf`` where a token would break its request's constraint."""
        mask_rows(logits, [(row, request.constraint, request.state()) for row, request in self._rows.items()])
        return logits

    def _request(self, params: Any, output_ids: Sequence[int]) -> _Request | None:
        constraint = self._constraints.of(params)
        return None if constraint is None else _Request(constraint, output_ids)

    def _put(self, row: int, request: _Request | None) -> None:
        if request is None:
            self._rows.pop(row, None)
        else:
            self._rows[row] = request


class _Request:
    """A constraint and the list of output tokens that vLLM keeps and lets grow."""

    def __init__(self, constraint: Constraint, output_ids: Sequence[int]) -> None:
        self.constraint = constraint
        self._output_ids = output_ids
        self._progress = Progress(constraint)

    def state(self) -> int:
        if self._output_ids and self._output_ids[-1] < 0:
            raise GenerationError(
                "vLLM did not tell the last token of a request (a placeholder stands in its place); fastmask's"
                " processor must be given in logits_processors=…, which makes vLLM tell it"
            )
        return self._progress.state(self._output_ids)
