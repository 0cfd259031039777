"""How much of a model's distribution is on allowed tokens, and the penalty that makes it as much as is wanted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fastmask import _core
from fastmask._core import FREE
from fastmask.constraint import Constraint
from fastmask.rows import state_array
from fastmask.select import bits
from fastmask.torch import kernel_rows
from fastmask.torch.inputs import allowed_like, float_scores, require_fitting
from fastmask.torch.saving import save, saved

if TYPE_CHECKING:
    from fastmask.on_device import OnDevice

__all__ = ["invalid_mass"]


def invalid_mass(logits: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """Probability on tokens that are not allowed, float32 [...] (float64 of float64), exact also where it is tiny.

    Made of the log-sum-exps over allowed tokens and over the others, because ``1 - p(A)`` loses every mass below
    1e-7 to rounding. On a CPU they are one pass of the kernel, and their gradient another, without a mask.

    Raises:
        InputError, InputTypeError, TokenRangeError: as for :func:`fastmask.torch.mask_logits`.
    """
    require_fitting(logits, states, con)
    allowed, disallowed = log_masses(logits, states, con)
    return torch.sigmoid(disallowed - allowed).to(torch.promote_types(logits.dtype, torch.float32))


def log_masses(
    logits: Tensor, states: Tensor, con: Constraint | OnDevice, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """log Σ e^(logits / temperature) over the allowed tokens of each row and over the others: two tensors [...].

    ``-inf`` where there is nothing to sum. Float64 from the kernel; otherwise float32, or float64 of float64 logits.
    """
    nothing = torch.empty(*states.shape, 0, dtype=torch.int32, device=logits.device)
    _, allowed, disallowed = outcomes(logits, nothing, states, con, temperature)
    return allowed, disallowed


def outcomes(
    logits: Tensor, ids: Tensor, states: Tensor, con: Constraint | OnDevice, temperature: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """(Logits of ``ids`` over the temperature, [..., k]; the :func:`log_masses` of all other tokens.)

    Of the dtypes of :func:`log_masses`: it is differences that callers take, and of large logits float32 would leave
    little of them.

    Args:
        ids: integers [..., k], none twice in a row; the logit of one that is no column is ``-inf``.
    """
    require_fitting(logits, states, con)
    if kernel_rows.obstacle(con, model=logits) is not None:
        return _outcomes(logits, ids, states, con, temperature)
    found: tuple[Tensor, Tensor, Tensor] = _Outcomes.apply(logits, ids.int(), states, con, temperature)  # type: ignore[no-untyped-call]
    return found


def _outcomes(
    logits: Tensor, ids: Tensor, states: Tensor, con: Constraint | OnDevice, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`outcomes` in plain torch, with copies of the logits and a mask."""
    width = logits.shape[-1]
    place, absent = _places(ids, width)
    rest = logits
    if ids.shape[-1]:
        padded = F.pad(logits, (0, 1), value=-math.inf)  # with a place to which absent ids are scattered
        rest = padded.scatter(-1, place.masked_fill(absent, width), -math.inf)[..., :width]
    masses = group_masses(float_scores(rest) / temperature, allowed_like(logits, states, con))
    return _picked(logits, ids, temperature, masses[0].dtype), *masses


def _picked(logits: Tensor, ids: Tensor, temperature: float, dtype: torch.dtype) -> Tensor:
    place, absent = _places(ids, logits.shape[-1])
    return logits.gather(-1, place).masked_fill(absent, -math.inf).to(dtype) / temperature


def _places(ids: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """(Columns, 0 for ids that are none; which these are.)"""
    absent = (ids < 0) | (ids >= width)
    return ids.masked_fill(absent, 0).long(), absent


class _Outcomes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, ids: Tensor, states: Tensor, con: Constraint, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = _core.log_masses(*_arguments(logits, ids, states, con, temperature))
        save(ctx, logits, ids, states)
        ctx.con, ctx.temperature = con, temperature
        allowed, disallowed = (torch.from_numpy(masses).view(states.shape) for masses in found)
        return _picked(logits, ids, temperature, allowed.dtype), allowed, disallowed

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        logits, ids, states = saved(ctx)
        if torch.is_grad_enabled():  # derivatives of the gradient are wanted: plain torch has them
            found = _outcomes(logits, ids, states, ctx.con, ctx.temperature)
            upstream = tuple(one.to(other.dtype) for one, other in zip(upstream, found, strict=True))
            return torch.autograd.grad(found, logits, upstream, create_graph=True)[0], None, None, None, None
        of_picked, *of_masses = upstream
        gradient = torch.empty(logits.shape, dtype=logits.dtype)
        allowed, disallowed = (weights.double().contiguous().view(-1).numpy() for weights in of_masses)
        arguments = _arguments(logits, ids, states, ctx.con, ctx.temperature)
        _core.log_mass_gradient(*arguments, allowed, disallowed, bits(gradient))
        place, absent = _places(ids, logits.shape[-1])
        gradient.scatter_add_(-1, place, (of_picked / ctx.temperature).masked_fill(absent, 0.0).to(logits.dtype))
        return gradient, None, None, None, None


def _arguments(
    logits: Tensor, ids: Tensor, states: Tensor, con: Constraint, temperature: float
) -> tuple[_core.Engine, npt.NDArray[np.int32], _core.Logits, float, npt.NDArray[np.int32]]:
    """What the kernel's functions begin with."""
    left_out = ids.reshape(states.numel(), ids.shape[-1]).contiguous().numpy()
    return con.core, state_array(states).reshape(-1), kernel_rows.in_place(logits), float(temperature), left_out


def group_masses(scores: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`log_masses` where the mask is at hand, bool like ``scores``, which are logits over the temperature."""
    return _log_sum_exp(scores, ~allowed), _log_sum_exp(scores, allowed)


def _log_sum_exp(scores: Tensor, left_out: Tensor) -> Tensor:
    """-inf over nothing. What is left out is the lowest number there is, beside which -inf has a gradient of 0."""
    nothing = (left_out | scores.isneginf()).all(-1)
    lowest = torch.finfo(scores.dtype).min
    sums = scores.masked_fill(left_out | nothing[..., None], lowest).logsumexp(-1)
    return sums.masked_fill(nothing, -math.inf)


def penalty_for(invalid_mass: float, masses: tuple[Tensor, Tensor], states: Tensor, temperature: float) -> Tensor:
    """The penalties [...] under which the mass on disallowed tokens is ``invalid_mass``, of either sign.

    With a the mass on allowed tokens and w = e^(-λ/τ), the mass on the others is (1-a)w / (a + (1-a)w); that is ε at
    λ = τ (log((1-a) / a) + log((1-ε) / ε)). It is 0 where the tokens of one kind have no mass to give away, and at
    FREE, where nothing is forbidden but columns that pad the vocabulary.

    Args:
        masses: :func:`log_masses` at this temperature.
    """
    allowed, disallowed = masses
    odds = disallowed - allowed
    wanted = math.log1p(-invalid_mass) - math.log(invalid_mass) if invalid_mass > 0 else math.inf
    shared = odds.isfinite() & (states != FREE).to(odds.device)
    return torch.where(shared, temperature * (odds + wanted), 0.0)
