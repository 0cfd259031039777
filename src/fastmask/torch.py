"""Masks and constrained losses on torch tensors.

Throughout: ``logits`` [..., V'] with V' at least the constraint's vocabulary, ``states`` integers [...], one for
each row of logits. Columns beyond the vocabulary are never allowed. ``con`` is a constraint, or its ``on(device)``,
which looks the masks up on the logits' device.

The mathematics of the constrained teacher: teacher logits t, student logits s, allowed set A, penalty λ,
temperature τ; p = softmax(t/τ), q = softmax(s/τ). Subtracting λ off A turns p into p̃ = p·w/Z with w = 1 on A and
exp(-λ/τ) off it, so the effective penalty is λ/τ. λ changes only how much mass A has, never the shape within A.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fastmask.constraint import Constraint
from fastmask.errors import InputError, InputTypeError, TokenRangeError
from fastmask.rows import state_array
from fastmask.select import select

if TYPE_CHECKING:
    from fastmask.on_device import OnDevice

__all__ = ["constrained_kl", "constrained_log_probs", "invalid_mass", "mask_logits", "penalize"]


def mask_logits(logits: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """``-inf`` where a token is not allowed: a new tensor of the same shape and dtype.

    On a CPU, where no gradient is asked for, this is one pass of the kernel, without a boolean mask.

    Raises:
        InputError: ``logits`` are narrower than the vocabulary, or ``states`` has not one id a row.
    """
    _require_fitting(logits, states, con)
    differentiable = logits.requires_grad and torch.is_grad_enabled()
    if logits.device.type != "cpu" or differentiable or not isinstance(con, Constraint):
        return logits.masked_fill(~_allowed(logits, states, con), -math.inf)
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
    return _penalized(logits, _allowed(logits, states, con), penalty)


def invalid_mass(logits: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """Probability on tokens that are not allowed, float32 [...], exact also where it is tiny.

    A difference of log-sum-exps, because ``1 - p(A)`` loses every mass below 1e-7 to rounding.
    """
    scores = _scores(logits)
    disallowed = scores.masked_fill(_allowed(logits, states, con), -math.inf)
    return (disallowed.logsumexp(-1) - scores.logsumexp(-1)).exp()


def constrained_log_probs(logits: Tensor, targets: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """Log-probability of ``targets`` [...] under the distribution restricted to allowed tokens, float32 [...].

    ``-inf`` for a target that is not allowed.

    Raises:
        TokenRangeError: a target beyond the logits; leave out positions that do not count (-100) beforehand.
    """
    log_probs = mask_logits(_scores(logits), states, con).log_softmax(-1)
    if targets.shape != states.shape:
        raise InputError(f"targets need one id for each state {tuple(states.shape)}, got {tuple(targets.shape)}")
    outside = targets[(targets < 0) | (targets >= logits.shape[-1])]
    if outside.numel():
        raise TokenRangeError(f"target {outside[0].item()} lies outside 0 … {logits.shape[-1] - 1}, the logits' width")
    return log_probs.gather(-1, targets.long().unsqueeze(-1)).squeeze(-1)


def constrained_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    states: Tensor,
    con: Constraint | OnDevice,
    penalty: float | Tensor = 10.0,
    temperature: float = 1.0,
    reverse: bool = False,
    mask_on: Literal["teacher", "student", "both", "none"] = "teacher",
) -> Tensor:
    """Divergence between the student and the constrained teacher at each position, float32 [...].

    Forward, KL(p̃ ‖ q); with ``reverse`` KL(q ‖ p̃), infinite at ``penalty=inf`` unless the student puts all its
    mass on allowed tokens. Differentiable in the student; the teacher is taken as given. Per position, so that
    the caller weighs and normalises. There is no factor τ²: multiply by ``temperature ** 2`` to keep gradients
    comparable between temperatures (Hinton et al. 2015, arXiv:1503.02531).

    Args:
        penalty: nats subtracted where a token is not allowed; 0 is plain distillation, ``inf`` forbids. The
            effective penalty is ``penalty / temperature``.
        mask_on: whose logits the penalty is subtracted from. ``"both"`` teaches the student nothing about
            tokens that are not allowed: right only where decoding is always constrained.

    Raises:
        InputError: shapes that do not fit, a temperature ≤ 0, a negative penalty, an unknown ``mask_on``.
    """
    if not temperature > 0:
        raise InputError(f"temperature must be above 0, got {temperature}")
    if mask_on not in ("teacher", "student", "both", "none"):
        raise InputError(f'mask_on must be "teacher", "student", "both" or "none", got {mask_on!r}')
    if student_logits.shape[:-1] != teacher_logits.shape[:-1]:
        raise InputError(
            f"student logits {tuple(student_logits.shape)} and teacher logits {tuple(teacher_logits.shape)} differ in"
            " more than their width"
        )
    width = max(student_logits.shape[-1], teacher_logits.shape[-1])
    student = _widened(_scores(student_logits), width)
    teacher = _widened(_scores(teacher_logits).detach(), width)
    if mask_on != "none":
        allowed = _allowed(student, states, con)
        teacher = _penalized(teacher, allowed, penalty) if mask_on in ("teacher", "both") else teacher
        student = _penalized(student, allowed, penalty) if mask_on in ("student", "both") else student
    log_p, log_q = (teacher / temperature).log_softmax(-1), (student / temperature).log_softmax(-1)
    return _kl(log_q, log_p) if reverse else _kl(log_p, log_q)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Σ p (log p - log q), in which a term with p = 0 is 0 although its logarithms are not finite."""
    p = log_p.exp()
    absent = p == 0
    return (p * (log_p.masked_fill(absent, 0.0) - log_q.masked_fill(absent, 0.0))).sum(-1)


def _penalized(logits: Tensor, allowed: Tensor, penalty: float | Tensor) -> Tensor:
    if isinstance(penalty, Tensor):
        if penalty.shape != logits.shape[:-1]:
            raise InputError(f"penalties need the rows' shape {tuple(logits.shape[:-1])}, got {tuple(penalty.shape)}")
        if not (penalty >= 0).all():
            raise InputError("penalties must not be negative, nor NaN")
        return torch.where(allowed, logits, logits - penalty.to(logits.dtype).unsqueeze(-1))
    if not penalty >= 0:
        raise InputError(f"a penalty must not be negative, got {penalty}")
    return torch.where(allowed, logits, logits - penalty)


def _allowed(logits: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """bool like ``logits``: True = allowed."""
    _require_fitting(logits, states, con)
    allowed: Tensor = con.allowed(states).to(logits.device)
    beyond = logits.shape[-1] - con.vocab_size
    return F.pad(allowed, (0, beyond)) if beyond else allowed


def _require_fitting(logits: Tensor, states: Tensor, con: Constraint | OnDevice) -> None:
    _require_logits(logits)
    if not isinstance(states, Tensor):
        raise InputTypeError(f"states must be a tensor, got {type(states).__name__}")
    if states.shape != logits.shape[:-1]:
        raise InputError(
            f"logits {tuple(logits.shape)} need states {tuple(logits.shape[:-1])}, got {tuple(states.shape)}"
        )
    require_width(logits, con)


def require_width(logits: Tensor, con: Constraint | OnDevice) -> None:
    """Raises InputError for logits narrower than the constraint's vocabulary."""
    if logits.shape[-1] < con.vocab_size:
        raise InputError(
            f"logits are {logits.shape[-1]:,} wide, the constraint's vocabulary {con.vocab_size:,}: it was made for"
            " another model; Vocabulary.from_tokenizer(tokenizer, size=model.config.vocab_size)"
        )


def _require_logits(logits: Tensor) -> None:
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise InputTypeError(
            f"logits must be a tensor of floats, got {getattr(logits, 'dtype', '')} {type(logits).__name__}"
        )


def _scores(logits: Tensor) -> Tensor:
    _require_logits(logits)
    return logits.float()


def _widened(logits: Tensor, width: int) -> Tensor:
    """Logits padded with impossible tokens, where a teacher and a student are padded differently."""
    return F.pad(logits, (0, width - logits.shape[-1]), value=-math.inf)
