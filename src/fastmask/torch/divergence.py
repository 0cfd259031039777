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

import torch.nn.functional as F
from torch import Tensor

from fastmask.errors import InputError
from fastmask.torch import fused, triton_engine
from fastmask.torch.inputs import allowed_like, float_scores, require_fitting, require_logits, require_penalty
from fastmask.torch.masks import penalized

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
    engine: Literal["auto", "fused", "triton", "torch"] = "auto",
) -> Tensor:
    """Divergence between the student and the constrained teacher at each position, float32 [...].

    Forward, KL(p̃ ‖ q); with ``reverse`` KL(q ‖ p̃), infinite at ``penalty=inf`` unless the student puts all its
    mass on allowed tokens. Differentiable in the student; the teacher is taken as given. Per position, so that
    the caller weighs and normalises. There is no factor τ²: multiply by ``temperature ** 2`` to keep gradients
    comparable between temperatures (Hinton et al. 2015, arXiv:1503.02531).

    Args:
        penalty: nats subtracted where a token is not allowed; 0 is plain distillation, ``inf`` forbids. The
            effective penalty is ``penalty / temperature``. A tensor [...] has one for each position.
        mask_on: whose logits the penalty is subtracted from. ``"both"`` teaches the student nothing about
            tokens that are not allowed: right only where decoding is always constrained.
        engine: ``"fused"`` is the kernel: float32, bfloat16 and float16 on a CPU, a :class:`Constraint`, first
            derivatives in the student. It needs no memory of the logits' size but the gradient. ``"triton"`` is
            the same on a GPU, for a constraint or its ``on(device)``, which spares a look at the host at each
            call; it was compiled for GPUs and run under Triton's interpreter, never on a GPU. ``"torch"`` does
            all else: other devices, float64, gradients in the penalty, derivatives of the gradient,
            ``torch.func``, ``torch.compile``. ``"auto"`` takes the engine of the logits' device where it can
            tell that it will do; derivatives of the gradient are the one thing it cannot foresee, and raise.

    Raises:
        InputError: shapes that do not fit, a temperature ≤ 0, a negative penalty, an unknown ``mask_on`` or
            ``engine``, ``engine="fused"`` or ``"triton"`` for what these do not do.
    """
    _require_options(temperature, mask_on, engine)
    _require_pair(student_logits, teacher_logits)
    if mask_on != "none":
        require_fitting(max(student_logits, teacher_logits, key=lambda logits: logits.shape[-1]), states, con)
        require_penalty(penalty, states.shape)
    options = (states, con, penalty, temperature, reverse, mask_on)
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


def _divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    states: Tensor,
    con: Constraint | OnDevice,
    penalty: float | Tensor,
    temperature: float,
    reverse: bool,
    mask_on: str,
) -> Tensor:
    width = max(student_logits.shape[-1], teacher_logits.shape[-1])
    student = _widened(float_scores(student_logits), width)
    teacher = _widened(float_scores(teacher_logits).detach(), width)
    if mask_on != "none":
        allowed = allowed_like(student, states, con)
        teacher = penalized(teacher, allowed, penalty) if mask_on in ("teacher", "both") else teacher
        student = penalized(student, allowed, penalty) if mask_on in ("student", "both") else student
    log_p, log_q = (teacher / temperature).log_softmax(-1), (student / temperature).log_softmax(-1)
    return _kl(log_q, log_p) if reverse else _kl(log_p, log_q)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Σ p (log p - log q), in which a term with p = 0 is 0 although its logarithms are not finite."""
    p = log_p.exp()
    absent = p == 0
    return (p * (log_p.masked_fill(absent, 0.0) - log_q.masked_fill(absent, 0.0))).sum(-1)


def _widened(logits: Tensor, width: int) -> Tensor:
    """Logits padded with impossible tokens, where a teacher and a student are padded differently."""
    return F.pad(logits, (0, width - logits.shape[-1]), value=-math.inf)


def _require_options(temperature: float, mask_on: str, engine: str) -> None:
    if not temperature > 0:
        raise InputError(f"temperature must be above 0, got {temperature}")
    if mask_on not in ("teacher", "student", "both", "none"):
        raise InputError(f'mask_on must be "teacher", "student", "both" or "none", got {mask_on!r}')
    if engine not in ("auto", *_KERNELS, "torch"):
        raise InputError(f'engine must be "auto", "fused", "triton" or "torch", got {engine!r}')


def _require_pair(student: Tensor, teacher: Tensor) -> None:
    require_logits(student)
    require_logits(teacher)
    if student.shape[:-1] != teacher.shape[:-1]:
        raise InputError(
            f"student logits {tuple(student.shape)} and teacher logits {tuple(teacher.shape)} differ in more than"
            " their width"
        )
