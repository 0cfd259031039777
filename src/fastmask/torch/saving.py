"""What forward leaves for backward, where some of it was made under ``torch.inference_mode``.

Autograd refuses to keep such tensors, because it counts no changes of theirs. A teacher is often run that way, and its
logits are constants here: they are kept beside what autograd keeps.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["save", "saved"]


def save(ctx: Any, *tensors: Tensor | None) -> None:
    ctx.beside = [tensor if tensor is not None and tensor.is_inference() else None for tensor in tensors]
    kept = [None if beside is not None else tensor for tensor, beside in zip(tensors, ctx.beside, strict=True)]
    ctx.save_for_backward(*kept)


def saved(ctx: Any) -> list[Any]:
    """The tensors of :func:`save`, in their order."""
    return [tensor if beside is None else beside for tensor, beside in zip(ctx.saved_tensors, ctx.beside, strict=True)]
