"""Continuous batching: one int32 state for each request, whatever the scheduler does with it.

``generate_batch`` takes no logits processors: left alone it drops the argument without a word and generates free text
(:mod:`fastmask.hf.dropped` makes that an error). Its own interface for per-request values,
``ContinuousBatchingLogitsProcessor``, gives a processor one int32 for each row of logits, and a state is just that.
What follows is written against transformers 5.23, ``transformers/generation/continuous_batching``; these of its habits
shape it:

- ``ContinuousBatchingLogitsProcessorList`` makes room for the processors it converts itself and for no others, so
  a native one that is handed in finds no storage (:class:`_ProcessorList`).
- With asynchronous batching (its default on a GPU with flash attention) the next batch is prepared while the last
  token of a request is known to the device alone. Its row then carries the state *before* that token, marked, and
  the token is read on the device (:meth:`ConstraintStates.with_last_token`).
- A request that was preempted comes back with its text moved into its prompt (:func:`_generated`); children of
  ``num_return_sequences`` are copies under other ids. Ids are reused. So states are derived from each request's
  own tokens, and remembered only from one batch to the next.
- Errors in its generation thread are logged and the requests returned as they are; :func:`generate_batch` raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager
from transformers.generation.continuous_batching.requests import FutureRequestState, GenerationOutput, RequestState
from transformers.generation.continuous_batching.utils import WorkloadHints

from fastmask import _core
from fastmask.constraint import Constraint
from fastmask.errors import GenerationError, InputError, InputTypeError
from fastmask.hf.fitting import require_one_vocabulary
from fastmask.on_device import OnDevice
from fastmask.progress import Progress

__all__ = ["constrained_batching", "generate_batch"]

_KEPT = "_cached_continuous_batching_manager"  # where transformers keeps a manager of `persistent_manager=True`


@contextmanager
def constrained_batching(model: Any, constraint: Constraint | Mapping[str, Constraint | None]) -> Iterator[None]:
    """Within this context, continuous batching on ``model`` keeps every request within a constraint::

        with constrained_batching(model, con):
            outputs = model.generate_batch(inputs, max_new_tokens=100)

    It holds for managers made inside: by ``generate_batch``, ``init_continuous_batching``, its context manager and
    ``generate(cache_implementation="paged")``. A request's constrained text begins behind its prompt. Ordinary
    ``generate`` is not affected. Entering makes the constraint's tables on the model's device
    (:meth:`fastmask.Constraint.on`), which takes seconds where strings have high ``maxLength``.

    Args:
        model: a transformers model with continuous batching.
        constraint: one for all requests; or several by name, ``None`` for no constraint, of which each request
            names its own: ``manager.add_request(ids, constraint="review")``. A request that names none is refused.

    Raises:
        InputTypeError: neither a constraint nor named ones.
        CompileLimitError: a constraint's tables are too large for a device.
        InputError: the model keeps a manager from before, or is within another such context; constraints of different
            vocabularies.
    """
    if "init_continuous_batching" in vars(model):
        raise InputError("this model is already within constrained_batching: leave that context first")
    if getattr(model, _KEPT, None) is not None:
        raise InputError(
            "this model keeps a manager made before, which a constraint cannot join any more:"
            " call model.destroy_cached_continuous_batching_manager() first"
        )
    states = ConstraintStates(constraint, model.device)
    model.init_continuous_batching = partial(_constrained_manager, model, model.init_continuous_batching, states)
    try:
        yield
    finally:
        del model.init_continuous_batching
        model.destroy_cached_continuous_batching_manager()  # one kept inside would stay constrained outside


def generate_batch(
    model: Any,
    inputs: Sequence[Sequence[int]],
    constraints: Constraint | Sequence[Constraint | None],
    generation_config: Any = None,
    continuous_batching_config: Any = None,
    max_new_tokens: int | None = None,
) -> list[GenerationOutput]:
    """``model.generate_batch`` with a constraint for each prompt.

    Args:
        model: a transformers model with continuous batching.
        inputs: the ids of each prompt.
        constraints: one for all, or one for each prompt, ``None`` for free text.
        generation_config, continuous_batching_config, max_new_tokens: as for ``model.generate_batch``.

    Returns:
        What came of each prompt, in their order; with ``num_return_sequences`` that many for each.
        ``generated_tokens`` holds the ids behind the prompt, EOS included.

    Raises:
        GenerationError: a request failed, or the generation thread ended early.
        InputError, InputTypeError: ``constraints`` do not match ``inputs``; else as :func:`constrained_batching`.
    """
    names, named = _named(constraints, len(inputs))
    if not inputs:
        return []
    config = generation_config or model.generation_config
    longest = max_new_tokens or config.max_new_tokens or 0
    options = {
        "generation_config": generation_config,
        "continuous_batching_config": continuous_batching_config,
        "workload_hints": WorkloadHints(max(map(len, inputs)), longest, len(inputs)),
    }
    with constrained_batching(model, named), model.continuous_batching_context_manager(**options) as manager:
        requests = [f"prompt_{i}" for i in range(len(inputs))]
        for request, ids, name in zip(requests, inputs, names, strict=True):
            manager.add_request(list(ids), request, max_new_tokens=max_new_tokens, constraint=name)
        return _collected(manager, [each for request in requests for each in _family(request, manager)])


class ConstraintStates(ContinuousBatchingLogitsProcessor):
    """One int32 for each request: its constraint's offset plus its state; the mask is a function of that.

    Several constraints stand behind one another in one range of numbers, whose 0 is the first one's FREE and does
    for requests without a constraint. A number ``~s`` (negative) says: the row's last token is not in ``s`` yet.

    Args:
        constraint: as for :func:`constrained_batching`, which is how to use it.
        device: where the model's logits are.
    """

    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self, constraint: Constraint | Mapping[str, Constraint | None], device: torch.device) -> None:
        by_name: Mapping[str | None, Constraint | None]
        by_name = {None: constraint} if isinstance(constraint, Constraint) else _checked(constraint)
        self.supported_kwargs: dict[str, type] = {} if None in by_name else {"constraint": str}
        distinct = list({id(con): con for con in by_name.values() if con is not None}.values())
        offsets = [0, *accumulate(con.num_states for con in distinct)]
        self._constraints = by_name
        self._offsets = {id(con): offset for con, offset in zip(distinct, offsets, strict=False)}
        self._tables = [_Tables(offset, con.on(device)) for con, offset in zip(distinct, offsets, strict=False)]
        self._progress: dict[str, Progress] = {}

    # ---- transformers' interface ------------------------------------------------------------------------

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        """FREE for rows that no request is in: padding of captured graphs."""
        int32_tensor.fill_(_core.FREE)

    def prepare_tensor_args(self, requests_with_new_token: list[FutureRequestState]) -> Tensor:
        """The numbers of these requests, int32 [N] on the host."""
        before, self._progress = self._progress, {}  # requests that sat out are replayed when they come back
        rows = [self._number(future.state, before) for future in requests_with_new_token]
        return torch.tensor(rows, dtype=torch.int32)

    def __call__(self, scores: Tensor, tensor_arg: Tensor) -> Tensor:
        """Scores [N, V] masked by states [≥ N]: tensor operations only, fit for capture."""
        states = tensor_arg[: scores.shape[0]]
        for tables in self._tables:
            scores = tables.mask(scores, states)
        return scores

    # ---- what the list adds -----------------------------------------------------------------------------

    def with_last_token(self, numbers: Tensor, tokens: Tensor) -> Tensor:
        """States [N] from numbers [N], in which the last tokens [N] are read where they are missing."""
        missing = numbers < 0
        states = torch.where(missing, ~numbers, numbers)
        advanced = states
        for tables in self._tables:
            advanced = tables.advance(advanced, tokens)
        return torch.where(missing, advanced, states)

    def require_named(self, name: Any) -> None:
        """Does a request name a constraint where there are several to choose from, and only there?"""
        if name not in self._constraints:
            known = sorted(str(each) for each in self._constraints if each is not None)
            expected = f"constraint=… with one of {known}" if known else "no constraint=…: there is one for all"
            raise InputError(f"a request takes {expected}, got {name!r}")

    def _number(self, request: RequestState, before: Mapping[str, Progress]) -> int:
        # `add_request` has refused unknown names; what still comes without one is transformers' own warm-up.
        constraint = self._constraints.get(request.logit_processor_kwargs.get("constraint"))
        if constraint is None:
            return int(_core.FREE)
        progress = before.get(request.request_id)
        if progress is None or progress.constraint is not constraint:
            progress = Progress(constraint)
        self._progress[request.request_id] = progress
        number = self._offsets[id(constraint)] + progress.state(_generated(request))
        return ~number if _is_ahead(request) else number


class _Tables:
    """One constraint on a device, its states shifted by an offset; rows of other constraints pass unchanged."""

    def __init__(self, offset: int, constraint: OnDevice) -> None:
        self._offset = offset
        self._end = offset + constraint.num_states
        self._constraint = constraint

    def mask(self, scores: Tensor, states: Tensor) -> Tensor:
        _, own = self._own(states)
        return self._constraint.mask(scores, own)

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        is_own, own = self._own(states)
        # A row of padding may hold anything as its token, -1 included: no token that is none is ever looked up.
        return torch.where(is_own, self._constraint.advance(own, tokens) + self._offset, states)

    def _own(self, states: Tensor) -> tuple[Tensor, Tensor]:
        is_own = (states >= self._offset) & (states < self._end)
        return is_own, torch.where(is_own, states - self._offset, _core.FREE)


class _ProcessorList(ContinuousBatchingLogitsProcessorList):
    """transformers' list with storage for native processors that it did not convert itself."""

    def __init__(self, processors: LogitsProcessorList, states: ConstraintStates) -> None:
        super().__init__(processors)
        native = [each for each in self.logits_processor if isinstance(each, ContinuousBatchingLogitsProcessor)]
        self.tensors_required = len(native)
        self._states = states
        self._row = native.index(states)

    def __call__(self, input_ids: torch.LongTensor, scores: Tensor, logits_processor_args: Tensor) -> Tensor:
        # Here, and not in the processor, the last token of each row is at hand: input_ids [N].
        arguments = logits_processor_args.clone()
        arguments[self._row] = self._states.with_last_token(arguments[self._row], input_ids)
        processed: Tensor = super().__call__(input_ids, scores, arguments)
        return processed


def _constrained_manager(model: Any, make: Any, states: ConstraintStates, *args: Any, **kwargs: Any) -> Any:
    """``init_continuous_batching`` with the states among its processors, before any warper, as in ``generate``."""
    collect = model._get_logits_processor
    model._get_logits_processor = partial(collect, logits_processor=LogitsProcessorList([states]))
    try:
        manager = make(*args, **kwargs)
    finally:
        del model._get_logits_processor
    if not isinstance(manager.logit_processor, _ProcessorList):  # it is one in a manager that was kept
        manager.logit_processor = _ProcessorList(manager.logit_processor.logits_processor, states)
        manager.add_request = partial(_add_request, manager.add_request, states)
    return manager


def _add_request(add: Any, states: ConstraintStates, *args: Any, **kwargs: Any) -> Any:
    """``add_request``, which finds out about a wrong name here: in its own thread it would only be logged."""
    states.require_named(kwargs.get("constraint"))
    return add(*args, **kwargs)


def _generated(request: RequestState) -> list[int]:
    """The ids generated so far. After a preemption they stand behind the prompt, as in ``to_generation_output``."""
    if request._true_initial_tokens:
        return request.initial_tokens[request._true_initial_tokens :] + request.generated_tokens
    return request.generated_tokens


def _is_ahead(request: RequestState) -> bool:
    """Does this batch read a token of the request that the host has not seen yet?"""
    unseen = request.position_offset - len(request.initial_tokens) - len(request.generated_tokens)
    if unseen not in (0, 1):
        raise GenerationError(
            f"request {request.request_id} has read {request.position_offset} tokens, of which {unseen} are unknown;"
            " expected at most one: this version of transformers batches in a way that fastmask does not know"
        )
    return unseen == 1


def _family(request: str, manager: ContinuousBatchingManager) -> list[str]:
    """The ids under which a request's sequences come back: its own and those that transformers gives its children."""
    return [request, *(f"{request}__child#{i}" for i in range(manager.num_return_sequences - 1))]


def _collected(manager: ContinuousBatchingManager, requests: Sequence[str]) -> list[GenerationOutput]:
    outputs: dict[str, GenerationOutput] = {}
    while len(outputs) < len(requests):
        output = manager.get_result(timeout=1)
        if output is None:
            if not manager.is_running():
                raise GenerationError("the generation thread ended early; its error stands in transformers' log")
        elif output.error is not None:
            raise GenerationError(f"request {output.request_id} failed: {output.error}")
        elif output.is_finished():
            outputs[output.request_id] = output
    return [outputs[request] for request in requests]


def _named(constraints: Any, count: int) -> tuple[list[str], dict[str, Constraint | None]]:
    """A name for the constraint of each prompt, and the constraints by name."""
    if not isinstance(constraints, (Constraint, Sequence)):
        raise InputTypeError(
            f"expected a fastmask.Constraint, or a list with one for each input, got {type(constraints).__name__}"
        )
    listed = [constraints] * count if isinstance(constraints, Constraint) else list(constraints)
    if len(listed) != count:
        raise InputError(f"{count} inputs need {count} constraints, or a single one for all; got {len(listed)}")
    names = [str(id(constraint)) for constraint in listed]
    return names, dict(zip(names, listed, strict=True))


def _checked(constraints: Any) -> Mapping[Any, Constraint | None]:
    if not isinstance(constraints, Mapping):
        raise InputTypeError(
            f"expected a fastmask.Constraint, or a dict of them by name, got {type(constraints).__name__}"
        )
    for name, constraint in constraints.items():
        if not isinstance(name, str) or not isinstance(constraint, (Constraint, type(None))):
            raise InputTypeError(
                f"expected names and a fastmask.Constraint or None for each, got {name!r}: {type(constraint).__name__}"
            )
    require_one_vocabulary(constraints.values())
    return dict(constraints)
