"""Logits under masks, and log-probabilities under them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastmask.constraint import Constraint
from fastmask.errors import InputError, TokenRangeError
from fastmask.rows import state_array
from fastmask.select import select
from fastmask.torch.inputs import allowed_like, float_scores, require_fitting, require_penalty

if TYPE_CHECKING:
    from fastmask.on_device import OnDevice

__all__ = ["constrained_log_probs", "mask_logits", "penalize"]


def mask_logits(logits: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """``-inf`` where a token is not allowed: a new tensor of the same shape and dtype.

    On a CPU, where no gradient is asked for, this is one pass of the kernel, without a boolean mask.

    Raises:
        InputError: ``logits`` are narrower than the vocabulary, or ``states`` has not one id a row.
    """
    require_fitting(logits, states, con)
    differentiable = logits.requires_grad and torch.is_grad_enabled()
    if logits.device.type != "cpu" or differentiable or not isinstance(con, Constraint):
        return logits.masked_fill(~allowed_like(logits, states, con), -math.inf)
    scores = logits.contiguous().view(-1, logits.shape[-1])
    masked = torch.empty_like(scores)
    select(con, state_array(states).reshape(-1), scores, masked)
    return masked.view(logits.shape)


def penalize(logits: Tensor, states: Tensor, con: Constraint | OnDevice, penalty: float | Tensor = 10.0) -> Tensor:
    """``logits - penalty`` where a token is not allowed: a new tensor of the same shape and dtype.

    Args:
        penalty: nats, ≥ 0, ``inf`` included; or a tensor [...] with one for each row.

    Raises:
        InputError: as for :func:`mask_logits`, or a penalty that is negative or NaN.
    """
    allowed = allowed_like(logits, states, con)
    require_penalty(penalty, states.shape)
    return penalized(logits, allowed, penalty)


def constrained_log_probs(logits: Tensor, targets: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """Log-probability of ``targets`` [...] under the distribution restricted to allowed tokens, float32 [...].

    ``-inf`` for a target that is not allowed.

    Raises:
        TokenRangeError: a target beyond the logits; leave out positions that do not count (-100) beforehand.
    """
    log_probs = mask_logits(float_scores(logits), states, con).log_softmax(-1)
    if targets.shape != states.shape:
        raise InputError(f"targets need one id for each state {tuple(states.shape)}, got {tuple(targets.shape)}")
    outside = targets[(targets < 0) | (targets >= logits.shape[-1])]
    if outside.numel():
        raise TokenRangeError(f"target {outside[0].item()} lies outside 0 … {logits.shape[-1] - 1}, the logits' width")
    return log_probs.gather(-1, targets.long().unsqueeze(-1)).squeeze(-1)


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
