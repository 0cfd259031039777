"""Teachers to store: a few log-probabilities a position, and the mass of all other tokens in two numbers.

The mathematics: k tokens are kept, allowed ones first. The others fall into two groups, what is left of the allowed
tokens and what is left of the disallowed ones; of these the mass is kept. The student's mass is summed up over the same
groups, and the divergence taken over k + 2 outcomes. To merge outcomes never raises a divergence, forward, reverse or
Jensen-Shannon (log-sum inequality; Cover and Thomas 2006, Elements of Information Theory, 2.7), and changes nothing
where the teacher has no mass on what is merged. A penalty is the same throughout a group, so none is approximated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fastmask.errors import InputError, InputTypeError
from fastmask.rows import integer
from fastmask.torch.divergence import between, require_options
from fastmask.torch.inputs import allowed_like, require_fitting, require_penalty
from fastmask.torch.masks import mask_logits, penalized
from fastmask.torch.mass import group_masses, outcomes, penalty_for

if TYPE_CHECKING:
    from fastmask.constraint import Constraint
    from fastmask.on_device import OnDevice

__all__ = ["SparseTeacher", "sparse_constrained_kl", "sparse_teacher"]


@dataclass(frozen=True, eq=False)
class SparseTeacher:
    """What :func:`sparse_teacher` keeps of a teacher's distribution at each position [...], before any penalty.

    To be stored are :meth:`tensors` and the temperature; ``SparseTeacher(**tensors, temperature=…)`` brings it back.
    ``teacher[rows]`` takes positions out, by any index of the leading dimensions.
    """

    ids: Tensor
    """int32 [..., k]: the tokens that are kept, first allowed ones, then others, each by falling probability; -1 where
    fewer than k tokens have any."""
    log_probs: Tensor
    """float32 [..., k]: their log-probabilities; ``-inf`` for -1."""
    num_allowed: Tensor
    """int32 [...]: how many of them, the first ones, are allowed."""
    allowed_tail: Tensor
    """float32 [...]: log of the mass on allowed tokens that are not kept; ``-inf`` where nothing is lost."""
    disallowed_tail: Tensor
    """float32 [...]: the same of the disallowed tokens."""
    temperature: float
    """That of the softmax."""

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, each with one row a position, as files of arrays take them."""
        names = ("ids", "log_probs", "num_allowed", "allowed_tail", "disallowed_tail")
        return {name: getattr(self, name) for name in names}

    def __getitem__(self, rows: Tensor | slice | int) -> SparseTeacher:
        return SparseTeacher(**{name: x[rows] for name, x in self.tensors().items()}, temperature=self.temperature)


def sparse_teacher(
    teacher_logits: Tensor, states: Tensor, con: Constraint | OnDevice, k: int, temperature: float = 1.0
) -> SparseTeacher:
    """Keep k tokens of each position, allowed ones first, by logit; then others.

    Where at most k tokens are allowed (:func:`fastmask.torch.allowed_counts`) all of them are kept, and at
    ``penalty=inf`` nothing is lost. The teacher is taken as given. On a CPU one copy of the logits is held at a time,
    and a boolean mask.

    Args:
        teacher_logits: [..., V'] of any floating-point type.
        k: at least 1; may be more than V'.

    Raises:
        InputError: shapes that do not fit, a temperature ≤ 0, k < 1.
        InputTypeError, TokenRangeError: as for :func:`fastmask.torch.mask_logits`, or k that is not an integer.
    """
    require_fitting(teacher_logits, states, con)
    require_options(temperature)
    if integer(k, "k") < 1:
        raise InputError(f"k must be at least 1, got {k}")
    logits = teacher_logits.detach()
    ids, num_allowed = _heaviest(logits, states, con, k)
    outcomes = _outcomes(logits, ids, states, con, temperature).log_softmax(-1).float()
    kept, allowed_tail, disallowed_tail = (outcomes[..., part].contiguous() for part in (slice(k), k, k + 1))
    return SparseTeacher(ids, kept, num_allowed, allowed_tail, disallowed_tail, temperature)


def sparse_constrained_kl(
    student_logits: Tensor,
    teacher: SparseTeacher,
    states: Tensor,
    con: Constraint | OnDevice,
    penalty: float | Tensor = 10.0,
    reverse: bool = False,
    mask_on: Literal["teacher", "student", "both", "none"] = "teacher",
    *,
    jensen_shannon: float | None = None,
    target_invalid_mass: float | None = None,
) -> Tensor:
    """:func:`fastmask.torch.constrained_kl` as far as a stored teacher tells, float32 [...] (float64 of float64).

    Never more than the divergence from the whole teacher, and equal to it where the tails are empty, or, at
    ``penalty=inf`` on the teacher, that of the allowed tokens. The penalty may differ from epoch to epoch, since the
    teacher is stored without any. The temperature is the stored one, for the student too. Differentiable in the
    student; on a CPU the kernel sums up its logits where they are, without a copy or a mask of their size.

    Args:
        teacher: of these ``states`` under this constraint, on the logits' device.
        penalty, reverse, mask_on, jensen_shannon, target_invalid_mass: as for ``constrained_kl``.

    Raises:
        InputError, InputTypeError, TokenRangeError: as for ``constrained_kl``; a teacher that is none, or of other
            positions.
    """
    if not isinstance(teacher, SparseTeacher):
        raise InputTypeError(
            f"teacher must be a SparseTeacher, got {type(teacher).__name__}: sparse_teacher makes one of logits, which"
            " constrained_kl takes as they are"
        )
    temperature = teacher.temperature
    require_options(temperature, reverse, mask_on, jensen_shannon, target_invalid_mass)
    require_fitting(student_logits, states, con)
    require_penalty(penalty, states.shape)
    _require_positions(teacher, states)
    log_q = _outcomes(student_logits, teacher.ids, states, con, temperature)
    log_p = torch.cat([teacher.log_probs, teacher.allowed_tail[..., None], teacher.disallowed_tail[..., None]], -1)
    log_p = log_p.to(log_q.dtype)
    allowed = _allowed_outcomes(teacher)

    def constrained(scores: Tensor) -> Tensor:
        if target_invalid_mass is None:
            return penalized(scores, allowed, penalty / temperature)
        return penalized(scores, allowed, penalty_for(target_invalid_mass, group_masses(scores, allowed), states, 1.0))

    log_p = constrained(log_p) if mask_on in ("teacher", "both") else log_p
    log_q = constrained(log_q) if mask_on in ("student", "both") else log_q
    losses = between(log_p.log_softmax(-1), log_q.log_softmax(-1), reverse, jensen_shannon)
    return losses.to(torch.promote_types(student_logits.dtype, torch.float32))


def _heaviest(logits: Tensor, states: Tensor, con: Constraint | OnDevice, k: int) -> tuple[Tensor, Tensor]:
    """(ids int32 [..., k], -1 where there is none; how many of them are allowed, int32 [...])."""
    most = min(k, logits.shape[-1])
    allowed = mask_logits(logits, states, con).topk(most)
    others = logits.masked_fill(allowed_like(logits, states, con), -math.inf).topk(most)
    num_allowed = (allowed.values > -math.inf).sum(-1, keepdim=True)
    place = torch.arange(most, device=logits.device).expand(allowed.indices.shape)
    place = torch.where(place < num_allowed, place, most + place - num_allowed)  # in both, one behind the other
    values, ids = (torch.cat([getattr(x, name) for x in (allowed, others)], -1) for name in ("values", "indices"))
    chosen = ids.gather(-1, place).masked_fill(values.gather(-1, place).isneginf(), -1)
    return F.pad(chosen, (0, k - most), value=-1).int(), num_allowed.squeeze(-1).int()


def _outcomes(logits: Tensor, ids: Tensor, states: Tensor, con: Constraint | OnDevice, temperature: float) -> Tensor:
    """[..., k + 2]: logits over the temperature of ``ids``, and log-sum-exps of the other tokens, allowed and not."""
    kept, *tails = outcomes(logits, ids, states, con, temperature)
    return torch.cat([kept, *(tail.unsqueeze(-1) for tail in tails)], -1)


def _allowed_outcomes(teacher: SparseTeacher) -> Tensor:
    """bool [..., k + 2]: which of the outcomes are allowed."""
    kept = torch.arange(teacher.ids.shape[-1], device=teacher.ids.device) < teacher.num_allowed.unsqueeze(-1)
    return torch.cat([kept, torch.ones_like(kept[..., :1]), torch.zeros_like(kept[..., :1])], -1)


def _require_positions(teacher: SparseTeacher, states: Tensor) -> None:
    if teacher.ids.shape[:-1] != states.shape:
        raise InputError(
            f"the sparse teacher has positions {tuple(teacher.ids.shape[:-1])}, states have {tuple(states.shape)}:"
            " expected the teacher of these positions, teacher[rows]"
        )
