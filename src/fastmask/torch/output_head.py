"""How a model makes logits of hidden states."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmask.errors import InputError, InputTypeError

__all__ = ["Curve", "OutputHead", "as_autocast", "output_head", "require_floats", "require_hidden"]


class Curve(NamedTuple):
    """What becomes of a head's product with hidden states."""

    scale: float
    soft_cap: float | None

    def of(self, product: Tensor) -> Tensor:
        scaled = product if self.scale == 1 else product * self.scale
        return scaled if self.soft_cap is None else (scaled / self.soft_cap).tanh() * self.soft_cap


@dataclass(frozen=True, eq=False, repr=False)
class OutputHead:
    """How a model makes logits [..., V] of hidden states [..., H]: ``cap(scale * (hidden @ weight.T + bias))``.

    ``cap(x)`` is ``soft_cap * tanh(x / soft_cap)``, Gemma 2's ``final_logit_softcapping`` (arXiv:2408.00118). Cohere's
    ``logit_scale`` is a ``scale``, Granite's ``logits_scaling`` is ``1 / scale``.

    Raises:
        InputTypeError: weight or bias are no tensors of floats, or of unequal dtypes.
        InputError: shapes that do not fit; a scale that is no finite number, a soft cap that is none above 0.
    """

    weight: Tensor
    """[V, H]; of a tied model, the embedding matrix."""
    bias: Tensor | None = None
    """[V]."""
    scale: float = 1.0
    """Factor of the product, the bias included."""
    soft_cap: float | None = None
    """The bound of the logits' absolute values; ``None``: none."""

    def __post_init__(self) -> None:
        require_floats("a head's weight", self.weight)
        if self.weight.ndim != 2 or self.weight.numel() == 0:
            raise InputError(f"a head's weight must be [vocabulary, hidden], got shape {tuple(self.weight.shape)}")
        if self.bias is not None:
            self._require_bias(self.bias)
        if isinstance(self.scale, Tensor) or not math.isfinite(self.scale):
            raise InputError(f"a head's scale must be a finite number, got {self.scale!r}")
        if self.soft_cap is not None and (isinstance(self.soft_cap, Tensor) or not 0 < self.soft_cap < math.inf):
            raise InputError(f"a soft cap must be a finite number above 0, or None, got {self.soft_cap!r}")

    def _require_bias(self, bias: Tensor) -> None:
        require_floats("a head's bias", bias)
        if bias.dtype != self.weight.dtype:
            raise InputTypeError(f"a head's weight is {self.weight.dtype}, its bias {bias.dtype}: expected one dtype")
        if bias.shape != self.weight.shape[:1]:
            raise InputError(f"a head's bias must have shape ({self.weight.shape[0]},), got {tuple(bias.shape)}")

    @property
    def curve(self) -> Curve:
        """Scale and soft cap, for fastmask's own modules."""
        return Curve(self.scale, self.soft_cap)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., H], all at once."""
        return self.curve.of(F.linear(hidden, self.weight, self.bias))


def output_head(head: OutputHead | nn.Linear | Tensor) -> OutputHead:
    """What a user passed as a head. Raises InputTypeError for anything else."""
    if isinstance(head, OutputHead):
        return head
    if isinstance(head, nn.Linear):
        return OutputHead(head.weight, head.bias)
    if isinstance(head, Tensor):
        return OutputHead(head)
    raise InputTypeError(
        f"a head must be a weight [vocabulary, hidden], a Linear layer or an OutputHead, got {type(head).__name__}"
    )


def as_autocast(hidden: Tensor, head: OutputHead) -> tuple[Tensor, OutputHead]:
    """In the dtype in which ``torch.autocast`` would multiply them, if it is on; as they are otherwise."""
    kind = hidden.device.type
    if not torch.is_autocast_enabled(kind) or hidden.dtype == torch.float64:
        return hidden, head
    dtype = torch.get_autocast_dtype(kind)
    bias = None if head.bias is None else head.bias.to(dtype)
    return hidden.to(dtype), OutputHead(head.weight.to(dtype), bias, head.scale, head.soft_cap)


def require_hidden(name: str, hidden: Tensor, head: OutputHead, rows: torch.Size) -> None:
    """Raises InputTypeError and InputError for hidden states that are not [*rows, H], or of another dtype or place."""
    require_floats(f"the {name}'s hidden states", hidden)
    expected = (*rows, head.weight.shape[1])
    if hidden.shape != expected:
        raise InputError(
            f"the {name}'s hidden states must have shape {expected}, states {tuple(rows)} by the head's"
            f" {expected[-1]}, got {tuple(hidden.shape)}"
        )
    if (hidden.dtype, hidden.device) != (head.weight.dtype, head.weight.device):
        raise InputTypeError(
            f"the {name}'s hidden states are {hidden.dtype} on {hidden.device}, its head {head.weight.dtype} on"
            f" {head.weight.device}: bring one to the other with .to(), or multiply under torch.autocast"
        )


def require_floats(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise InputTypeError(
            f"{name} must be a tensor of floats, got {getattr(tensor, 'dtype', '')} {type(tensor).__name__}"
        )
