"""What a student is trained with: the divergence, and the labels' own cross-entropy mixed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from fastmask.errors import InputError
from fastmask.torch.divergence import constrained_kl
from fastmask.torch.inputs import float_scores

if TYPE_CHECKING:
    from fastmask.constraint import Constraint
    from fastmask.on_device import OnDevice

__all__ = ["distillation_losses"]


def distillation_losses(
    student_logits: Tensor,
    teacher_logits: Tensor,
    states: Tensor,
    con: Constraint | OnDevice,
    labels: Tensor,
    cross_entropy: float = 0.0,
    temperature: float = 1.0,
    **divergence: Any,
) -> Tensor:
    """(1-c) τ² D + c H at each position, float32 [N]: D the divergence, H the label's cross-entropy, c its share.

    τ² keeps gradients comparable between temperatures (Hinton et al. 2015, arXiv:1503.02531); H is at temperature 1.

    Args:
        student_logits, teacher_logits: [N, V'], [N, V''].
        states: integers [N].
        labels: int64 [N], the tokens that are right.
        cross_entropy: c, at least 0 and below 1.
        divergence: all other arguments of :func:`fastmask.torch.constrained_kl`, by name.

    Raises:
        InputError, InputTypeError, TokenRangeError: a share out of range; and as ``constrained_kl``.
    """
    require_share(cross_entropy)
    divergences = constrained_kl(student_logits, teacher_logits, states, con, temperature=temperature, **divergence)
    return with_labels(
        divergences,
        temperature,
        cross_entropy,
        lambda: F.cross_entropy(float_scores(student_logits), labels, reduction="none"),
    )


def with_labels(
    divergences: Tensor, temperature: float, cross_entropy: float, label_losses: Callable[[], Tensor]
) -> Tensor:
    """(1-c) τ² D + c H of divergences [N], wherever they are from, and H [N], made where it has a share."""
    losses = temperature**2 * divergences
    return (1 - cross_entropy) * losses + cross_entropy * label_losses() if cross_entropy else losses


def require_share(cross_entropy: float) -> None:
    if not 0 <= cross_entropy < 1:
        raise InputError(f"cross_entropy is a share, at least 0 and below 1, got {cross_entropy}")
