"""Divergences by the kernel: every row's logits come from memory once, and nothing of their size is written but
gradients.

When the gradient is written. Backward knows what the loss is weighed with, forward has the logits at hand. From one
step of a training loop to the next that weight is usually the same number for all rows (1/N of a mean, 1 of a sum), so
forward bets on it and writes the gradient along with the loss; where the bet is lost, backward writes it from the
logits again. Both ways give the same bits.

The kernel knows the student's gradient alone. The teacher's, for those who ask for it, is the student's of the same
divergence with the sides exchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fastmask import _core
from fastmask.constraint import Constraint
from fastmask.select import bits
from fastmask.torch import kernel_rows
from fastmask.torch.saving import save, saved

if TYPE_CHECKING:
    from fastmask.on_device import OnDevice


def obstacle(student: Tensor, teacher: Tensor, con: Constraint | OnDevice, penalty: float | Tensor) -> str | None:
    """Why the kernel cannot compute this divergence; None if it can."""
    if isinstance(penalty, Tensor) and penalty.requires_grad:
        return "the penalty asks for a gradient, or is made of logits that do"
    return kernel_rows.obstacle(con, student=student, teacher=teacher)


def divergence(
    student: Tensor,
    teacher: Tensor,
    states: Tensor,
    con: Constraint | OnDevice,
    penalty: float | Tensor,
    temperature: float,
    reverse: bool,
    mask_on: str,
    jensen_shannon: float | None,
) -> Tensor:
    """See :func:`fastmask.torch.constrained_kl`, which has checked what it hands on; there is no :func:`obstacle`."""
    assert isinstance(con, Constraint)
    rows = student.shape[:-1]
    flat_states = kernel_rows.kept_states(states) if mask_on != "none" else np.zeros(rows.numel(), np.int32)
    shares = None if jensen_shannon is None else (float(jensen_shannon), 1.0 - jensen_shannon)
    penalties = kernel_rows.penalties(penalty, rows)
    options = (flat_states, penalties, mask_on, float(temperature), bool(reverse), shares)
    bet = _bet.upstream if student.requires_grad and torch.is_grad_enabled() else None
    losses: Tensor = _Divergence.apply(student, teacher, con.core, options, bet)  # type: ignore[no-untyped-call]
    return losses


class _Bet:
    """What the next backward pass will be given for every row, judged by the last two: a matter of speed alone."""

    def __init__(self) -> None:
        self.upstream: float | None = None
        self._last: float | None = None

    def learn(self, upstream: npt.NDArray[np.float32]) -> None:
        seen = float(upstream[0]) if upstream.size and (upstream == upstream[0]).all() else None
        self.upstream = seen if seen == self._last else None
        self._last = seen


_bet = _Bet()


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        engine: _core.Engine,
        options: tuple[Any, ...],
        bet: float | None,
    ) -> Tensor:
        upstream = gradient = None
        if bet is not None:
            upstream = np.full(options[0].shape, bet, np.float32)
            gradient = _room_for(student)
        losses = _run(student, teacher, engine, options, upstream, gradient)
        save(ctx, student, teacher)
        ctx.rest = engine, options
        ctx.upstream, ctx.gradient = upstream, gradient
        return torch.from_numpy(losses).view(student.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        student, teacher = saved(ctx)
        engine, options = ctx.rest
        given = upstream.reshape(-1).contiguous().numpy()
        gradient = teacher_gradient = None
        if ctx.needs_input_grad[0]:
            _bet.learn(given)
            gradient, ctx.gradient = ctx.gradient, None  # handed out once: what is done to it then is not ours to know
            if gradient is None or not np.array_equal(ctx.upstream, given):
                gradient = _room_for(student) if gradient is None else gradient
                _run(student, teacher, engine, options, given, gradient)
        if ctx.needs_input_grad[1]:
            teacher_gradient = _room_for(teacher)
            _run(teacher, student, engine, _with_sides_exchanged(options), given, teacher_gradient)
        return gradient, teacher_gradient, None, None, None


def _with_sides_exchanged(options: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of the same divergence, when the teacher is called student and the student teacher."""
    states, penalties, mask_on, temperature, reverse, shares = options
    exchanged = {"teacher": "student", "student": "teacher"}.get(mask_on, mask_on)
    return states, penalties, exchanged, temperature, not reverse, shares and shares[::-1]


def _room_for(logits: Tensor) -> Tensor:
    """A gradient yet to be written, in memory that the last one may have had."""
    if not logits.numel():
        return torch.empty(logits.shape, dtype=logits.dtype)
    memory = torch.from_numpy(_core.recycled(logits.numel() * logits.element_size()))
    return memory.view(logits.dtype).view(logits.shape)


def _run(
    student: Tensor,
    teacher: Tensor,
    engine: _core.Engine,
    options: tuple[Any, ...],
    upstream: npt.NDArray[np.float32] | None,
    gradient: Tensor | None,
) -> npt.NDArray[np.float32]:
    """The losses [N]; fills ``gradient``, if there is one, with that of their sum weighed by ``upstream`` [N]."""
    states, penalties, mask_on, temperature, reverse, shares = options
    return _core.divergence(
        engine,
        states,
        kernel_rows.in_place(teacher),
        kernel_rows.in_place(student),
        penalties,
        mask_on,
        temperature,
        reverse,
        shares,
        upstream,
        None if gradient is None else bits(gradient),
    )
