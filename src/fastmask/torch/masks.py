"""Logits under masks, and log-probabilities under them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fastmask import _core
from fastmask.constraint import Constraint
from fastmask.errors import InputError, InputTypeError, TokenRangeError
from fastmask.rows import state_array
from fastmask.select import bits, select
from fastmask.torch import kernel_rows
from fastmask.torch.inputs import allowed_like, are_allowed, is_traced, require_fitting, require_penalty
from fastmask.torch.mass import outcomes

if TYPE_CHECKING:
    from fastmask.on_device import OnDevice

__all__ = ["constrained_log_probs", "mask_logits", "penalize"]


def mask_logits(logits: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """``-inf`` where a token is not allowed: a new tensor of the same shape and dtype.

    On a CPU this is one pass of the kernel, and its gradient another, without a boolean mask.

    Raises:
        InputError: ``logits`` are narrower than the vocabulary, or ``states`` has not one id a row.
        InputTypeError: ``logits`` that are no dense tensor of floats, ``states`` that are no tensor of integers, a
            ``con`` that is no constraint.
        TokenRangeError: a state outside 0 … ``num_states - 1``; with ``con.on(device)``, which looks at no value, such
            a state counts as DEAD.
    """
    require_fitting(logits, states, con)
    if logits.device.type != "cpu" or not isinstance(con, Constraint) or is_traced():
        return logits.masked_fill(~allowed_like(logits, states, con), -math.inf)
    masked: Tensor = _Selected.apply(logits, kernel_rows.kept_states(states), con, -math.inf, None)  # type: ignore[no-untyped-call]
    return masked


class _Selected(torch.autograd.Function):
    """``logits`` where a token is allowed, ``forbidden`` elsewhere; of the rows with ``states``, or of those named."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        states: npt.NDArray[np.int32],
        con: Constraint,
        forbidden: float,
        rows: npt.NDArray[np.int64] | None,
    ) -> Tensor:
        ctx.options = states, con, 0.0, rows
        scores = logits.contiguous().view(-1, logits.shape[-1])
        selected = scores  # a copy already, of an expanded gradient for one
        if scores.data_ptr() == logits.data_ptr():
            selected = torch.empty_like(scores) if rows is None else scores.clone()
        select(con, states, scores, selected, rows, forbidden)
        return selected.view(logits.shape)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return _Selected.apply(upstream, *ctx.options), None, None, None, None  # type: ignore[no-untyped-call]


def penalize(logits: Tensor, states: Tensor, con: Constraint | OnDevice, penalty: float | Tensor = 10.0) -> Tensor:
    """``logits - penalty`` where a token is not allowed: a new tensor of the same shape and dtype.

    On a CPU this is one pass of the kernel, without a boolean mask, for all but float64 and penalties with a gradient.

    Args:
        penalty: nats, ≥ 0, ``inf`` included; or a tensor [...] with one for each row.

    Raises:
        InputError, InputTypeError, TokenRangeError: as for :func:`mask_logits`; a penalty that is negative or NaN, of
            another shape, or no number.
    """
    require_fitting(logits, states, con)
    require_penalty(penalty, states.shape)
    return lowered(logits, states, con, penalty)


def lowered(logits: Tensor, states: Tensor, con: Constraint | OnDevice, penalty: float | Tensor) -> Tensor:
    """:func:`penalize` of what was checked, by penalties of either sign."""
    wanting = isinstance(penalty, Tensor) and penalty.requires_grad
    if wanting or kernel_rows.obstacle(con, model=logits) is not None:
        return penalized(logits, allowed_like(logits, states, con), penalty)
    assert isinstance(con, Constraint)
    penalties = kernel_rows.penalties(penalty, states.shape)
    result: Tensor = _Penalized.apply(logits, state_array(states).reshape(-1), con, penalties)  # type: ignore[no-untyped-call]
    return result


class _Penalized(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, states: npt.NDArray[np.int32], con: Constraint, penalties: npt.NDArray[np.float32]
    ) -> Tensor:
        forbidding = np.flatnonzero(np.isposinf(penalties))
        ctx.options = states[forbidding], con, 0.0, forbidding
        out = torch.empty(logits.shape, dtype=logits.dtype)
        _core.penalized_rows(con.core, states, kernel_rows.in_place(logits), penalties, bits(out))
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """What is subtracted changes no slope; what is forbidden has none."""
        forbids = len(ctx.options[0]) > 0
        gradient: Tensor = _Selected.apply(upstream, *ctx.options) if forbids else upstream  # type: ignore[no-untyped-call]
        return gradient, None, None, None


def constrained_log_probs(logits: Tensor, targets: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """Log-probability of ``targets`` [...] under the distribution restricted to allowed tokens, float32 [...].

    ``-inf``, without a gradient, for a target that is not allowed. Float64 of float64. Exact also where it is close to
    0: with z the target's logit and r the log-sum-exp of the other allowed tokens it is -log(1 + e^(r - z)). On a CPU
    it is one pass of the kernel, and its gradient another, without a mask.

    Raises:
        InputError: as for :func:`mask_logits`, or not one target a row.
        InputTypeError: as for :func:`mask_logits`, or targets that are no tensor of integers.
        TokenRangeError: as for :func:`mask_logits`, or a target beyond the logits; leave out positions that do not
            count (-100) beforehand. Under torch.compile and torch.func, which see no values, such a target gets
            ``-inf``.
    """
    require_fitting(logits, states, con)
    if not isinstance(targets, Tensor) or targets.is_floating_point():
        kind = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
        raise InputTypeError(f"targets must be a tensor of token ids, which are integers, got {kind}")
    if targets.shape != states.shape:
        raise InputError(f"targets need one id for each state {tuple(states.shape)}, got {tuple(targets.shape)}")
    if not is_traced():
        _require_columns(targets, logits.shape[-1])
    picked, others, _ = outcomes(logits, targets.unsqueeze(-1), states, con)
    log_probs = F.logsigmoid(picked.squeeze(-1) - others).to(torch.promote_types(logits.dtype, torch.float32))
    return log_probs.masked_fill(~are_allowed(targets, states, con), -math.inf)


def _require_columns(targets: Tensor, width: int) -> None:
    outside = targets[(targets < 0) | (targets >= width)]
    if outside.numel():
        raise TokenRangeError(f"target {outside[0].item()} lies outside 0 … {width - 1}, the logits' width")


def penalized(logits: Tensor, allowed: Tensor, penalty: float | Tensor) -> Tensor:
    """:func:`penalize` where the mask is at hand, bool like ``logits``; penalties may be negative, too.

    An infinite penalty is not subtracted: a logit may be infinite, too.
    """
    if not isinstance(penalty, Tensor):
        return (
            logits.masked_fill(~allowed, -math.inf)
            if penalty == math.inf
            else torch.where(allowed, logits, logits - penalty)
        )
    subtracted = penalty.to(logits.dtype).unsqueeze(-1)
    lowered = (logits - subtracted).masked_fill(subtracted.isposinf(), -math.inf)
    return torch.where(allowed, logits, lowered)
