"""The divergence from hidden states: logits are made, compared and dropped, one chunk of positions after another.

When the gradients are made. A position's gradient is the weight that its loss has in the end, which backward brings,
times what forward has at hand; making the logits anew costs a product with each head. So forward makes the gradients
for weights of 1 along with the losses, and backward multiplies. That serves wherever the weight is one number for all
positions (a mean, a sum) and, if the head is frozen, for any weights. A head's gradient is a sum over positions: where
these are weighed one by one, backward makes it from the logits again. Which of the two comes is bet on, by the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fastmask.errors import InputError
from fastmask.rows import integer
from fastmask.torch.divergence import constrained_kl
from fastmask.torch.inputs import is_traced, require_penalty, require_states
from fastmask.torch.output_head import Curve, OutputHead, as_autocast, output_head, require_floats, require_hidden
from fastmask.torch.saving import save, saved

if TYPE_CHECKING:
    from fastmask.constraint import Constraint
    from fastmask.on_device import OnDevice

__all__ = ["linear_constrained_kl"]

# Of one model's logits. The gradient of the head is read and written once a chunk, so small chunks cost time.
_CHUNK_BYTES = 40 << 20
_ROW_BLOCK = 64  # matrix products are made in blocks: 192 rows took a tenth less time a row than 205


def linear_constrained_kl(
    student_hidden: Tensor,
    student_head: OutputHead | nn.Linear | Tensor,
    teacher_hidden: Tensor,
    teacher_head: OutputHead | nn.Linear | Tensor,
    states: Tensor,
    con: Constraint | OnDevice,
    penalty: float | Tensor = 10.0,
    temperature: float = 1.0,
    reverse: bool = False,
    mask_on: Literal["teacher", "student", "both", "none"] = "teacher",
    *,
    jensen_shannon: float | None = None,
    target_invalid_mass: float | None = None,
    engine: Literal["auto", "fused", "triton", "torch"] = "auto",
    chunk_rows: int | None = None,
) -> Tensor:
    """:func:`constrained_kl` from hidden states and output heads, float32 [...], which never holds all logits at once.

    Float64 of float64.

    Differentiable, once, in the student's hidden states, weight and bias. The teacher is taken as given: its gradient
    would be a second chain of products and sums, as long as the student's, for the few who train both;
    ``constrained_kl(…, teacher_gradient=True)`` on the logits has it.

    A mean or a sum over all positions is what it is fastest at: where a head is trained and positions are weighed one
    by one, backward makes all logits a second time. So leave out positions that do not count (``hidden[counts]``)
    rather than weighing them with 0.

    The gradient of a bfloat16 or float16 head is summed up in float32. Under ``torch.autocast`` the products are of its
    dtype, as those of :class:`torch.nn.Linear` would be.

    Args:
        student_hidden: [..., H], of its head's dtype; the teacher's may be of another dtype and width.
        student_head: an :class:`OutputHead`; a weight [V', H] or a ``Linear`` layer stands for one without more.
        states: integers [...].
        penalty: as all that follow, see :func:`constrained_kl`. No gradients in it here.
        chunk_rows: positions whose logits are held at a time; by default as many as make 40 MiB, which suits CPUs.

    Raises:
        InputTypeError: hidden states or heads that are no tensors of floats, or of unequal dtypes.
        InputError: shapes that do not fit, a ``chunk_rows`` below 1, a penalty that asks for a gradient; in the
            transforms of ``torch.func`` or a graph of ``torch.compile``; and all that :func:`constrained_kl` raises.
    """
    _require_plain_autograd(penalty)
    require_states(states)
    require_penalty(penalty, states.shape)
    student, head = _side("student", student_hidden, student_head, states.shape)
    teacher, teacher_head = _side("teacher", teacher_hidden, teacher_head, states.shape)
    tensors = _Tensors(
        student,
        head.weight,
        head.bias,
        teacher.detach(),
        teacher_head.weight.detach(),
        None if teacher_head.bias is None else teacher_head.bias.detach(),
        states.reshape(-1),
        penalty.reshape(-1) if isinstance(penalty, Tensor) else None,
    )
    options = {
        "penalty": penalty,
        "temperature": temperature,
        "reverse": reverse,
        "mask_on": mask_on,
        "jensen_shannon": jensen_shannon,
        "target_invalid_mass": target_invalid_mass,
        "engine": engine,
    }
    form = _Form(head.curve, teacher_head.curve, con, options, _chunk_rows(chunk_rows, tensors))
    foreseen = torch.is_grad_enabled() and _bet.on(tensors)
    losses: Tensor = _Chunked.apply(form, foreseen, *tensors)  # type: ignore[no-untyped-call]
    return losses.view(states.shape)


class _Tensors(NamedTuple):
    """What the losses are made of; without a name before it, the student's."""

    hidden: Tensor  # [N, H]
    weight: Tensor  # [V, H]
    bias: Tensor | None  # [V]
    teacher_hidden: Tensor
    teacher_weight: Tensor
    teacher_bias: Tensor | None
    states: Tensor  # [N]
    penalties: Tensor | None  # [N]; None: one for all, which stands in the form


class _Form(NamedTuple):
    """How they are made of it."""

    curve: Curve
    teacher_curve: Curve
    con: Constraint | OnDevice
    options: dict[str, Any]  # of constrained_kl
    chunk_rows: int


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, form: _Form, foreseen: bool, *tensors: Any) -> Tensor:
        wanted = ctx.needs_input_grad[2:5] if foreseen else (False, False, False)
        losses, gradients = _solve(_Tensors(*tensors), form, wanted)
        ctx.form, ctx.gradients = form, gradients if foreseen else None
        save(ctx, *tensors)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        tensors, wanted = _Tensors(*saved(ctx)), ctx.needs_input_grad[2:5]
        gradients, ctx.gradients = ctx.gradients, None  # handed out once: what is done to it then is not ours to know
        if _bet.won(upstream, wanted) and gradients is not None:
            gradients.weigh(upstream)
        else:
            _, gradients = _solve(tensors, ctx.form, wanted, upstream)
        return None, None, *gradients.handed_out(), *[None] * (len(tensors) - 3)


def _solve(
    tensors: _Tensors, form: _Form, wanted: tuple[bool, bool, bool], upstream: Tensor | None = None
) -> tuple[Tensor, _Gradients]:
    """Losses [N], and the gradients of their sum weighed by ``upstream`` [N]: in hidden states, weight and bias."""
    gradients, buffers = _Gradients(tensors, wanted), _Buffers.of(tensors, form.chunk_rows)
    starts = range(0, max(1, len(tensors.states)), form.chunk_rows)  # one chunk at least: it checks the options
    losses = [
        _solve_chunk(tensors, form, slice(start, start + form.chunk_rows), buffers, gradients, upstream)
        for start in starts
    ]
    return torch.cat(losses), gradients


def _solve_chunk(
    tensors: _Tensors, form: _Form, rows: slice, buffers: _Buffers, gradients: _Gradients, upstream: Tensor | None
) -> Tensor:
    """Losses at these rows. What is as wide as the vocabulary stays in the buffers, or ends with this function."""
    teacher = _product(tensors.teacher_hidden[rows], tensors.teacher_weight, tensors.teacher_bias, buffers.teacher)
    product = _product(tensors.hidden[rows], tensors.weight, tensors.bias, buffers.student)
    product.requires_grad_(gradients.wanted)
    options = form.options if tensors.penalties is None else {**form.options, "penalty": tensors.penalties[rows]}
    with torch.set_grad_enabled(gradients.wanted):
        losses = constrained_kl(
            form.curve.of(product), form.teacher_curve.of(teacher), tensors.states[rows], form.con, **options
        )
    if gradients.wanted:
        weights = torch.ones_like(losses) if upstream is None else upstream[rows]
        gradients.add(rows, *torch.autograd.grad(losses, product, weights))
    return losses.detach()


class _Buffers(NamedTuple):
    """For the products of one chunk after another: fresh pages for each would cost a sixth of the time."""

    teacher: Tensor  # [rows of a chunk, V]
    student: Tensor

    @staticmethod
    def of(tensors: _Tensors, chunk_rows: int) -> _Buffers:
        rows = min(chunk_rows, len(tensors.states))
        return _Buffers(*(weight.new_empty(rows, len(weight)) for weight in (tensors.teacher_weight, tensors.weight)))


def _product(hidden: Tensor, weight: Tensor, bias: Tensor | None, buffer: Tensor) -> Tensor:
    """``hidden @ weight.T + bias``, in the first rows of ``buffer``."""
    out = buffer[: len(hidden)]
    return torch.mm(hidden, weight.T, out=out) if bias is None else torch.addmm(bias, hidden, weight.T, out=out)


class _Gradients:
    """Of the student's hidden states, weight and bias, filled chunk by chunk; None where not wanted.

    Sums over chunks are in float32 at least: in half precision they would stop growing.
    """

    def __init__(self, tensors: _Tensors, wanted: tuple[bool, bool, bool]) -> None:
        self._tensors = tensors
        self.wanted = any(wanted)
        self._hidden = torch.empty_like(tensors.hidden) if wanted[0] else None
        self._weight, self._bias = (
            torch.zeros_like(tensor, dtype=torch.promote_types(tensor.dtype, torch.float32))
            if want and tensor is not None
            else None
            for tensor, want in zip((tensors.weight, tensors.bias), wanted[1:], strict=True)
        )

    def add(self, rows: slice, slope: Tensor) -> None:
        """``slope``: the gradient in ``hidden @ weight.T + bias`` at these rows."""
        if self._hidden is not None:
            torch.mm(slope, self._tensors.weight, out=self._hidden[rows])
        if self._weight is not None:
            _add_product(self._weight, slope.T, self._tensors.hidden[rows])
        if self._bias is not None:
            self._bias += slope.sum(0, dtype=self._bias.dtype)

    def weigh(self, upstream: Tensor) -> None:
        """From weights of 1 to ``upstream`` [N], which is one number if it is the head's gradients that are wanted."""
        if self._hidden is not None:
            self._hidden *= upstream[:, None]
        for sums in (self._weight, self._bias):
            if sums is not None and len(upstream):
                sums *= upstream[0]

    def handed_out(self) -> tuple[Tensor | None, ...]:
        dtype = self._tensors.weight.dtype
        return self._hidden, *(None if sums is None else sums.to(dtype) for sums in (self._weight, self._bias))


def _add_product(sums: Tensor, first: Tensor, second: Tensor) -> None:
    """``sums += first @ second``, in one pass where their dtype is one."""
    if sums.dtype == first.dtype:
        sums.addmm_(first, second)
    else:
        sums += first @ second


class _Bet:
    """Will gradients for weights of 1 serve in backward? Betting on it is a matter of speed alone."""

    def __init__(self) -> None:
        self._uniform = True  # were all losses weighed alike, when a head's gradient was wanted last?

    def on(self, tensors: _Tensors) -> bool:
        hidden, weight, bias = (tensor is not None and tensor.requires_grad for tensor in tensors[:3])
        if tensors.hidden.dtype == torch.float16:
            return False  # what a loss scale is there to keep would be lost before backward brings it
        return self._uniform if weight or bias else hidden

    def won(self, upstream: Tensor, wanted: tuple[bool, bool, bool]) -> bool:
        """Would they have served? Remembered for the next time."""
        if not (wanted[1] or wanted[2]):
            return True
        self._uniform = bool((upstream == upstream[:1]).all())
        return self._uniform


_bet = _Bet()


def _side(
    name: str, hidden: Tensor, head: OutputHead | nn.Linear | Tensor, rows: torch.Size
) -> tuple[Tensor, OutputHead]:
    """Hidden states [N, H] and their head, checked."""
    require_floats(f"the {name}'s hidden states", hidden)
    hidden, whole = as_autocast(hidden, output_head(head))
    require_hidden(name, hidden, whole, rows)
    return hidden.reshape(-1, hidden.shape[-1]), whole


def _chunk_rows(given: int | None, tensors: _Tensors) -> int:
    if given is None:
        widest = max(weight.shape[0] * weight.element_size() for weight in (tensors.weight, tensors.teacher_weight))
        rows = _CHUNK_BYTES // widest
        return rows // _ROW_BLOCK * _ROW_BLOCK or max(1, rows)
    if integer(given, "chunk_rows") < 1:
        raise InputError(f"chunk_rows must be at least 1, got {given}")
    return given


def _require_plain_autograd(penalty: float | Tensor) -> None:
    instead = "constrained_kl on the logits can"
    if is_traced():
        raise InputError(
            f"linear_constrained_kl cannot run in torch.compile or the transforms of torch.func: {instead}"
        )
    if isinstance(penalty, Tensor) and penalty.requires_grad:
        raise InputError(f"linear_constrained_kl gives the penalty no gradient: {instead}; or penalty.detach()")
