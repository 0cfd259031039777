"""How much of a model's distribution is on allowed tokens, and the penalty that makes it as much as is wanted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fastmask import _core
from fastmask._core import FREE
from fastmask.constraint import Constraint
from fastmask.rows import state_array
from fastmask.torch import kernel_rows
from fastmask.torch.inputs import allowed_like, float_scores, require_fitting
from fastmask.torch.saving import save, saved

if TYPE_CHECKING:
    from fastmask.on_device import OnDevice

__all__ = ["invalid_mass"]


def invalid_mass(logits: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """Probability on tokens that are not allowed, float32 [...] (float64 of float64), exact also where it is tiny.

    Made of the log-sum-exps over allowed tokens and over the others, because ``1 - p(A)`` loses every mass below
    1e-7 to rounding. On a CPU they are one pass of the kernel, without a mask.
    """
    allowed, disallowed = log_masses(logits, states, con)
    return torch.sigmoid(disallowed - allowed).to(torch.promote_types(logits.dtype, torch.float32))


def log_masses(
    logits: Tensor, states: Tensor, con: Constraint | OnDevice, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """log Σ e^(logits / temperature) over the allowed tokens of each row and over the others: two tensors [...].

    ``-inf`` where there is nothing to sum. Float64 from the kernel; otherwise float32, or float64 of float64 logits.
    """
    require_fitting(logits, states, con)
    if kernel_rows.obstacle(con, model=logits) is not None:
        return group_masses(float_scores(logits) / temperature, allowed_like(logits, states, con))
    masses: tuple[Tensor, Tensor] = _KernelMasses.apply(logits, states, con, temperature)  # type: ignore[no-untyped-call]
    return masses


class _KernelMasses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, states: Tensor, con: Constraint, temperature: float) -> tuple[Tensor, Tensor]:
        found = _core.log_masses(
            con.core, state_array(states).reshape(-1), kernel_rows.in_place(logits), float(temperature)
        )
        allowed, disallowed = (torch.from_numpy(masses).view(states.shape) for masses in found)
        save(ctx, logits, states, allowed, disallowed)
        ctx.con, ctx.temperature = con, temperature
        return allowed, disallowed

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """In plain torch, so that it has derivatives of its own: each token's share of the mass of its kind."""
        logits, states, *masses = saved(ctx)
        scores = float_scores(logits) / ctx.temperature
        allowed = allowed_like(logits, states, ctx.con)

        def of_kind(ours: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(allowed, ours.to(scores.dtype)[..., None], theirs.to(scores.dtype)[..., None])

        share = (scores - of_kind(*(mass.masked_fill(mass.isneginf(), 0.0) for mass in masses))).exp()
        return (share * of_kind(*(x / ctx.temperature for x in upstream))).to(logits.dtype), None, None, None


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
