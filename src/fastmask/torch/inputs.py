"""What the functions on tensors take: the checks that they share, and the mask as a tensor."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from fastmask.constraint import Constraint
from fastmask.errors import InputError, InputTypeError
from fastmask.rows import state_array

if TYPE_CHECKING:
    from fastmask.on_device import OnDevice


def allowed_like(logits: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """bool like ``logits``: True = allowed."""
    require_fitting(logits, states, con)
    allowed: Tensor = con.allowed(states).to(logits.device)
    beyond = logits.shape[-1] - con.vocab_size
    return F.pad(allowed, (0, beyond)) if beyond else allowed


def are_allowed(tokens: Tensor, states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """Is each of the tokens [...], ids from 0 on, allowed in its state? bool [...]."""
    if isinstance(con, Constraint):
        found = con.core.allows(state_array(states).reshape(-1), tokens.cpu().long().reshape(-1).numpy())
        return torch.from_numpy(found).view(tokens.shape).to(tokens.device)
    words, rows = con.packed(states)
    inside = tokens < con.vocab_size
    ids = tokens.masked_fill(~inside, 0).long()
    return inside & (words[rows, ids // 32] >> ids % 32 & 1).bool()


def require_constraint(con: Constraint | OnDevice) -> None:
    if isinstance(con, Constraint):
        return
    from fastmask.on_device import OnDevice  # which imports this package

    if not isinstance(con, OnDevice):
        raise InputTypeError(f"con must be a fastmask.Constraint, or its on(device), got {type(con).__name__}")


def require_fitting(logits: Tensor, states: Tensor, con: Constraint | OnDevice) -> None:
    require_constraint(con)
    require_logits(logits)
    require_states(states)
    if states.shape != logits.shape[:-1]:
        raise InputError(
            f"logits {tuple(logits.shape)} need states {tuple(logits.shape[:-1])}, got {tuple(states.shape)}"
        )
    require_width(logits, con)
    if isinstance(con, Constraint) and torch._C._are_functorch_transforms_active():
        raise InputError(
            "the transforms of torch.func do not see into a constraint, whose masks are made by the kernel: pass its"
            " con.on(device), which has them as tensors"
        )


def require_states(states: Tensor) -> None:
    if not isinstance(states, Tensor):
        raise InputTypeError(f"states must be a tensor, got {type(states).__name__}")


def require_width(logits: Tensor, con: Constraint | OnDevice) -> None:
    """Raises InputError for logits narrower than the constraint's vocabulary."""
    if logits.shape[-1] < con.vocab_size:
        raise InputError(
            f"logits are {logits.shape[-1]:,} wide, the constraint's vocabulary {con.vocab_size:,}: it was made for"
            " another model; Vocabulary.from_tokenizer(tokenizer, size=model.config.vocab_size)"
        )


def require_logits(logits: Tensor) -> None:
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.layout != torch.strided:
        kind = f"{logits.layout} {logits.dtype} " if isinstance(logits, Tensor) else ""
        raise InputTypeError(f"logits must be a dense tensor of floats, got {kind}{type(logits).__name__}")
    if logits.dim() == 0 or logits.shape[-1] == 0:
        raise InputError(f"logits need a last dimension of tokens, got shape {tuple(logits.shape)}")


def float_scores(logits: Tensor) -> Tensor:
    """The logits in float32, or in float64 if that is what they are."""
    require_logits(logits)
    return logits if logits.dtype == torch.float64 else logits.float()


def require_penalty(penalty: float | Tensor, rows: torch.Size) -> None:
    """Raises InputError for a penalty that is negative or NaN, or a tensor of another shape than ``rows``."""
    if isinstance(penalty, Tensor):
        if penalty.shape != rows:
            raise InputError(f"penalties need the rows' shape {tuple(rows)}, got {tuple(penalty.shape)}")
        if not is_traced() and not (penalty >= 0).all():
            raise InputError("penalties must not be negative, nor NaN")
    elif not isinstance(penalty, Real):
        raise InputTypeError(f"a penalty must be a number or a tensor, got {type(penalty).__name__}")
    elif not penalty >= 0:
        raise InputError(f"a penalty must not be negative, got {penalty}")


def is_traced() -> bool:
    """Is torch compiling or transforming functions, so that no value can be looked at?"""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
