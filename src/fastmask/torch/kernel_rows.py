"""Rows of logits as the kernel takes them: where they lie, in any strides, in three floating-point types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fastmask import _core
from fastmask.constraint import Constraint
from fastmask.rows import state_array
from fastmask.select import bits
from fastmask.torch.inputs import is_traced

if TYPE_CHECKING:
    from fastmask.on_device import OnDevice

_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def obstacle(con: Constraint | OnDevice, **logits: Tensor) -> str | None:
    """Why the kernel cannot read the logits of those named under the constraint's masks; None if it can."""
    if is_traced():
        return "torch.compile and the transforms of torch.func do not see into the kernel"
    if not isinstance(con, Constraint):
        return "the masks are on a device"
    for name, rows in logits.items():
        if rows.device.type != "cpu" or type(rows) not in (Tensor, torch.nn.Parameter):
            return f"the {name}'s logits are not in plain memory ({type(rows).__name__} on {rows.device})"
        if rows.dtype not in _DTYPES:
            return f"the {name}'s logits are {rows.dtype}"
    return None


def in_place(logits: Tensor) -> _core.Logits:
    """The rows where they are; a copy only where a row's own logits do not lie side by side."""
    width = logits.shape[-1]
    logits = logits if logits.stride(-1) == 1 or width < 2 else logits.contiguous()
    starts = np.zeros((), np.int64)
    for size, stride in zip(logits.shape[:-1], logits.stride()[:-1], strict=True):
        starts = starts[..., None] + np.arange(size) * stride
    end = int(starts.max()) + width if starts.size else 0
    return _core.Logits(bits(logits.as_strided((end,), (1,))), _DTYPES[logits.dtype], starts.reshape(-1), width)


def kept_states(states: Tensor) -> npt.NDArray[np.int32]:
    """One for each row, [N]: a copy, as backward reads them when their owner may have filled the tensor anew."""
    kept: npt.NDArray[np.int32] = state_array(states).reshape(-1).copy()
    return kept


def penalties(penalty: float | Tensor, rows: torch.Size) -> npt.NDArray[np.float32]:
    """One for each row, [N]; what float32 cannot hold is infinite."""
    each = np.empty(rows, np.float32)
    with np.errstate(over="ignore"):
        each[...] = penalty.detach().cpu().float().numpy() if isinstance(penalty, Tensor) else penalty
    return each.reshape(-1)
