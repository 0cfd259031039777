"""Divergences by Triton's kernels, for logits on a GPU; under Triton's interpreter, on a CPU.

Losses and gradient are kernels of their own with nothing but six floats a row kept between them, so backward reads the
logits again. Here triton is looked for and not imported: that happens with the first divergence.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fastmask.constraint import Constraint
from fastmask.errors import CompileLimitError
from fastmask.rows import state_array
from fastmask.torch.inputs import is_traced
from fastmask.torch.saving import save, saved

if TYPE_CHECKING:
    from fastmask.on_device import OnDevice
    from fastmask.torch.triton_kernels import Pair

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def obstacle(student: Tensor, teacher: Tensor, con: Constraint | OnDevice, penalty: float | Tensor) -> str | None:
    """Why the kernels cannot compute this divergence; None if they can."""
    if is_traced():
        return "torch.compile and the transforms of torch.func do not see into the kernels"
    for name, logits in (("student", student), ("teacher", teacher)):
        if type(logits) not in (Tensor, torch.nn.Parameter):
            return f"the {name}'s logits are no plain tensor ({type(logits).__name__})"
        if logits.dtype not in _DTYPES:
            return f"the {name}'s logits are {logits.dtype}"
    if isinstance(penalty, Tensor) and penalty.requires_grad:
        return "the penalty asks for a gradient"
    if teacher.device != student.device:
        return f"the student's logits are on {student.device}, the teacher's on {teacher.device}"
    return _obstacle_of_place(student.device) or _obstacle_of_masks(con, student.device)


def _obstacle_of_place(device: torch.device) -> str | None:
    if find_spec("triton") is None:
        return "triton is not installed"
    if device.type == "cuda":
        return None
    from fastmask.torch import triton_kernels

    if device.type == "cpu" and triton_kernels.interpreted():
        return None
    return (
        f"the logits are on {device}, not on a GPU (Triton's interpreter takes a CPU's, if TRITON_INTERPRET=1 was set"
        " before triton was imported)"
    )


def _obstacle_of_masks(con: Constraint | OnDevice, device: torch.device) -> str | None:
    if not isinstance(con, Constraint):
        return None if con.device == device else f"the masks are on {con.device}, the logits on {device}"
    try:
        con.on(device)  # made once, and kept
    except CompileLimitError as error:
        return str(error)
    return None


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
    masks = (None, None, None) if mask_on == "none" else _masks(states, con, penalty, student.device)
    shares = None if jensen_shannon is None else (float(jensen_shannon), 1.0 - jensen_shannon)
    options = (mask_on, float(temperature), bool(reverse), shares)
    losses: Tensor = _Divergence.apply(student, teacher, *masks, options)  # type: ignore[no-untyped-call]
    return losses


def _masks(
    states: Tensor, con: Constraint | OnDevice, penalty: float | Tensor, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """``words``, ``rows`` and ``penalties`` of a :class:`fastmask.torch.triton_kernels.Pair`."""
    if isinstance(con, Constraint):
        con.is_final(states)  # raises for a state out of range, as nothing on a device does
        con, states = con.on(device), torch.from_numpy(state_array(states)).to(device)
    words, rows = con.packed(states)
    if isinstance(penalty, Tensor):
        penalties = penalty.detach().to(device, torch.float32)
    else:
        penalties = torch.full(rows.shape, float(penalty), dtype=torch.float32, device=device)
    return words, rows.reshape(-1), penalties.reshape(-1)


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        words: Tensor | None,
        rows: Tensor | None,
        penalties: Tensor | None,
        options: tuple[Any, ...],
    ) -> Tensor:
        from fastmask.torch import triton_kernels

        losses, statistics = triton_kernels.losses_of(_pair(student, teacher, words, rows, penalties, *options))
        save(ctx, student, teacher, words, rows, penalties, statistics)
        ctx.options = options
        return losses.view(student.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        from fastmask.torch import triton_kernels

        *inputs, statistics = saved(ctx)
        pair, (_, _, reverse, _) = _pair(*inputs, *ctx.options), ctx.options
        weights = upstream.reshape(-1).contiguous()

        def gradient_in(logits: Tensor, is_first: bool) -> Tensor:
            gradient = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
            triton_kernels.gradient_of(pair, statistics, weights, gradient, is_first)
            return gradient

        student, teacher = inputs[:2]
        of_student, of_teacher = ctx.needs_input_grad[:2]
        return (
            gradient_in(student, reverse) if of_student else None,
            gradient_in(teacher, not reverse) if of_teacher else None,
            *(None,) * 4,
        )


def _pair(
    student: Tensor,
    teacher: Tensor,
    words: Tensor | None,
    rows: Tensor | None,
    penalties: Tensor | None,
    mask_on: str,
    temperature: float,
    reverse: bool,
    shares: tuple[float, float] | None,
) -> Pair:
    from fastmask.torch.triton_kernels import Pair

    sides = [(_rows(teacher), mask_on in ("teacher", "both")), (_rows(student), mask_on in ("student", "both"))]
    (first, penalize_first), (second, penalize_second) = reversed(sides) if reverse else sides
    return Pair(first, second, words, rows, penalties, penalize_first, penalize_second, temperature, shares)


def _rows(logits: Tensor) -> Tensor:
    """As [outer, inner, V'], where they are; a copy only where a row's own logits do not lie side by side, or where
    rows in more than two dimensions are no regular grid."""
    rows = logits.flatten(0, -3) if logits.dim() > 3 else logits[(None,) * (3 - logits.dim())]
    return rows if rows.stride(-1) == 1 or rows.shape[-1] < 2 else rows.contiguous()
