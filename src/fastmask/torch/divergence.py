"""The divergence between a student and a constrained teacher.

The mathematics: teacher logits t, student logits s, allowed set A, penalty λ, temperature τ; p = softmax(t/τ),
q = softmax(s/τ). Subtracting λ off A turns p into p̃ = p·w/Z with w = 1 on A and exp(-λ/τ) off it, so the effective
penalty is λ/τ. λ changes only how much mass A has, never the shape within A.

Three engines compute it. The one below is the definition in plain torch: it runs on every device and under every
transform of torch, and holds a handful of tensors of the logits' shape. The others hold none but the gradient: on a CPU
the kernel's, on a GPU Triton's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fastmask.errors import InputError
from fastmask.torch import fused, triton_engine
from fastmask.torch.inputs import allowed_like, float_scores, require_fitting, require_logits, require_penalty
from fastmask.torch.masks import lowered, penalized
from fastmask.torch.mass import log_masses, penalty_for

if TYPE_CHECKING:
    from fastmask.constraint import Constraint
    from fastmask.on_device import OnDevice

__all__ = ["constrained_kl"]

_KERNELS = {"fused": fused, "triton": triton_engine}
_OF_DEVICE = {"cpu": "fused", "cuda": "triton"}


def constrained_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    states: Tensor,
    con: Constraint | OnDevice,
    penalty: float | Tensor = 10.0,
    temperature: float = 1.0,
    reverse: bool = False,
    mask_on: Literal["teacher", "student", "both", "none"] = "teacher",
    *,
    jensen_shannon: float | None = None,
    target_invalid_mass: float | None = None,
    teacher_gradient: bool = False,
    engine: Literal["auto", "fused", "triton", "torch"] = "auto",
) -> Tensor:
    """Divergence between the student and the constrained teacher at each position, float32 [...].

    Forward, KL(p̃ ‖ q); with ``reverse`` KL(q ‖ p̃), infinite at ``penalty=inf`` unless the student puts all its
    mass on allowed tokens. Differentiable in the student; the teacher is taken as given, unless its gradient is
    asked for. Per position, so that the caller weighs and normalises. There is no factor τ²: multiply by
    ``temperature ** 2`` to keep gradients comparable between temperatures (Hinton et al. 2015, arXiv:1503.02531).
    Float64 if either of the logits are.

    A position of which either side has a NaN or +inf among its logits, in a column that is not forbidden altogether,
    gives a loss that is not finite; other positions do not notice. Nothing raises: to look would be to wait for the
    device.

    Args:
        penalty: nats subtracted where a token is not allowed; 0 is plain distillation, ``inf`` forbids. The
            effective penalty is ``penalty / temperature``. A tensor [...] has one for each position.
        mask_on: whose logits the penalty is subtracted from. ``"both"`` teaches the student nothing about
            tokens that are not allowed: right only where decoding is always constrained.
        jensen_shannon: β of the generalised Jensen-Shannon divergence β KL(p̃ ‖ m) + (1-β) KL(q ‖ m) with
            m = β p̃ + (1-β) q (Agarwal et al. 2024, arXiv:2306.13649, eq. 1), 0 < β < 1. Always finite, at
            ``penalty=inf`` too: never above -β log β - (1-β) log(1-β). It goes to 0 with β and with 1-β; divided
            by β it goes to the forward divergence, by 1-β to the reverse one. TRL's ``GKDConfig.beta`` is this β
            between the ends, and puts forward (0) and reverse (1) undivided there.
        target_invalid_mass: ε, 0 ≤ ε < 1, in place of ``penalty``: the mass that is left on disallowed tokens at each
            position, whatever the model's own, p̃ = (1-ε) p(· | allowed) + ε p(· | disallowed). A fixed penalty fails
            where little is allowed: beside 1e-6 on allowed tokens one of 10 leaves 98 % on the others. Positions that
            are FREE, or have all their mass on one kind, stay as they are.
        teacher_gradient: let the gradient into the teacher's logits, too.
        engine: ``"fused"`` is the kernel: float32, bfloat16 and float16 on a CPU, a :class:`Constraint`, first
            derivatives. It needs no memory of the logits' size but the gradients (and with ``target_invalid_mass`` a
            copy of the teacher's where it is for both sides, and of those narrower than the vocabulary). ``"triton"``
            is the same on a GPU, for a constraint or its ``on(device)``, which spares a look at the host at each call;
            it was compiled for GPUs and run under Triton's interpreter, never on a GPU. ``"torch"`` does all else:
            other devices, float64, gradients in the penalty (also in one that ``target_invalid_mass`` makes of logits
            with a gradient), derivatives of the gradient, ``torch.func`` and ``torch.compile`` (with ``con.on(device)``
            for the constraint). ``"auto"`` takes the engine of the logits' device where it can tell that it will do;
            derivatives of the gradient are the one thing it cannot foresee, and raise.

    Raises:
        InputError: shapes that do not fit, a temperature ≤ 0, a negative penalty, β or ε out of range, ``reverse``
            with ``jensen_shannon``, an unknown ``mask_on`` or ``engine``, ``engine="fused"`` or ``"triton"`` for what
            these do not do.
        InputTypeError, TokenRangeError: as for :func:`fastmask.torch.mask_logits`, or a penalty that is no number.
    """
    require_options(temperature, reverse, mask_on, jensen_shannon, target_invalid_mass)
    if engine not in ("auto", *_KERNELS, "torch"):
        raise InputError(f'engine must be "auto", "fused", "triton" or "torch", got {engine!r}')
    _require_pair(student_logits, teacher_logits)
    require_penalty(penalty, student_logits.shape[:-1])
    teacher_logits = teacher_logits if teacher_gradient else teacher_logits.detach()
    if mask_on != "none":
        wider = student_logits if student_logits.shape[-1] >= teacher_logits.shape[-1] else teacher_logits
        require_fitting(wider, states, con)
        if target_invalid_mass is not None:
            teacher_logits, penalty, mask_on = _on_target(
                student_logits, teacher_logits, states, con, target_invalid_mass, temperature, mask_on
            )
    options = (states, con, penalty, temperature, reverse, mask_on, jensen_shannon)
    chosen = _OF_DEVICE.get(student_logits.device.type, "torch") if engine == "auto" else engine
    if chosen != "torch":
        kernels = _KERNELS[chosen]
        obstacle = kernels.obstacle(student_logits, teacher_logits, con, penalty)
        if obstacle is None:
            losses: Tensor = kernels.divergence(student_logits, teacher_logits, *options)
            return losses
        if engine != "auto":
            raise InputError(f'engine="{engine}" cannot do this: {obstacle}; engine="torch" can')
    return _divergence(student_logits, teacher_logits, *options)


def _on_target(
    student: Tensor,
    teacher: Tensor,
    states: Tensor,
    con: Constraint | OnDevice,
    target: float,
    temperature: float,
    mask_on: Literal["teacher", "student", "both", "none"],
) -> tuple[Tensor, Tensor, Literal["teacher", "student"]]:
    """The teacher's logits, penalties and whose they are: engines know one penalty a position, for one side or both.

    So where both sides have their own, the teacher's is subtracted here.
    """

    def whole(logits: Tensor) -> Tensor:
        return _widened(logits, max(con.vocab_size, logits.shape[-1]))

    def penalty(logits: Tensor) -> Tensor:
        return penalty_for(target, log_masses(whole(logits), states, con, temperature), states, temperature)

    if mask_on == "teacher":
        return teacher, penalty(teacher), "teacher"
    if mask_on == "both":
        scores = float_scores(whole(teacher))
        teacher = lowered(scores, states, con, penalty(scores))
    return teacher, penalty(student), "student"


def _divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    states: Tensor,
    con: Constraint | OnDevice,
    penalty: float | Tensor,
    temperature: float,
    reverse: bool,
    mask_on: str,
    jensen_shannon: float | None,
) -> Tensor:
    width = max(student_logits.shape[-1], teacher_logits.shape[-1])
    student, teacher = (_widened(float_scores(logits), width) for logits in (student_logits, teacher_logits))
    if mask_on != "none":
        allowed = allowed_like(student, states, con)
        teacher = penalized(teacher, allowed, penalty) if mask_on in ("teacher", "both") else teacher
        student = penalized(student, allowed, penalty) if mask_on in ("student", "both") else student
    log_p, log_q = (teacher / temperature).log_softmax(-1), (student / temperature).log_softmax(-1)
    return between(log_p, log_q, reverse, jensen_shannon)


def between(log_p: Tensor, log_q: Tensor, reverse: bool, jensen_shannon: float | None) -> Tensor:
    """The divergence that the options name, [...], of two distributions as log-probabilities [..., V]."""
    if jensen_shannon is not None:
        return _jensen_shannon(log_p, log_q, jensen_shannon)
    return _kl(log_q, log_p) if reverse else _kl(log_p, log_q)


def _jensen_shannon(log_p: Tensor, log_q: Tensor, beta: float) -> Tensor:
    absent = log_p.isneginf() & log_q.isneginf()  # of neither: where log m has no gradient
    p, q = (log_probs.masked_fill(absent, 0.0) for log_probs in (log_p, log_q))
    log_m = torch.logaddexp(p + math.log(beta), q + math.log1p(-beta))
    return beta * _kl(log_p, log_m) + (1 - beta) * _kl(log_q, log_m)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Σ p (log p - log q), in which a term with p = 0 is 0 although its logarithms are not finite."""
    p = log_p.exp()
    absent = p == 0
    return (p * (log_p.masked_fill(absent, 0.0) - log_q.masked_fill(absent, 0.0))).sum(-1)


def _widened(logits: Tensor, width: int) -> Tensor:
    """Logits padded with impossible tokens, where a teacher and a student are padded differently."""
    missing = width - logits.shape[-1]
    return F.pad(logits, (0, missing), value=-math.inf) if missing else logits


def require_options(
    temperature: float,
    reverse: bool = False,
    mask_on: str = "teacher",
    jensen_shannon: float | None = None,
    target_invalid_mass: float | None = None,
) -> None:
    """Raises InputError for a number out of range, a name that there is not, or two options that exclude each other."""
    if not 0 < temperature < math.inf:
        raise InputError(f"temperature must be above 0 and finite, got {temperature}")
    if mask_on not in ("teacher", "student", "both", "none"):
        raise InputError(f'mask_on must be "teacher", "student", "both" or "none", got {mask_on!r}')
    if jensen_shannon is not None and not 0 < jensen_shannon < 1:
        raise InputError(
            f"jensen_shannon must lie between 0 and 1, both excluded, got {jensen_shannon}; for the forward and the"
            " reverse divergence leave it out"
        )
    if jensen_shannon is not None and reverse:
        raise InputError("jensen_shannon has no reverse: 1-β in place of β exchanges teacher and student")
    if target_invalid_mass is not None and not 0 <= target_invalid_mass < 1:
        raise InputError(f"target_invalid_mass must be at least 0 and below 1, got {target_invalid_mass}")


def _require_pair(student: Tensor, teacher: Tensor) -> None:
    require_logits(student)
    require_logits(teacher)
    if student.shape[:-1] != teacher.shape[:-1]:
        raise InputError(
            f"student logits {tuple(student.shape)} and teacher logits {tuple(teacher.shape)} differ in more than"
            " their width"
        )
