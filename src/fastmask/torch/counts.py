"""How many tokens are allowed, as a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fastmask.allowed_counts import allowed_counts as counts_of
from fastmask.constraint import Constraint
from fastmask.rows import state_array
from fastmask.torch.inputs import require_constraint, require_states

if TYPE_CHECKING:
    from fastmask.on_device import OnDevice

__all__ = ["allowed_counts"]


def allowed_counts(states: Tensor, con: Constraint | OnDevice) -> Tensor:
    """How many tokens are allowed, at least 1: int64 [...] from states [...], on their device.

    Each distinct state is counted once, so no mask is held for every position.

    Raises:
        InputTypeError: ``states`` are no tensor of integers, or ``con`` is no constraint.
        TokenRangeError: a state outside 0 … ``num_states - 1``; with ``con.on(device)``, which looks at no value, such
            a state counts as DEAD.
    """
    require_constraint(con)
    require_states(states)
    if not isinstance(con, Constraint):
        return con.allowed_counts(states)
    distinct, place = np.unique(state_array(states).reshape(-1), return_inverse=True)
    counts = torch.from_numpy(counts_of(con, distinct)[place])
    return counts.view(states.shape).to(states.device)
