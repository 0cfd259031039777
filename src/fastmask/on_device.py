"""A constraint as tensors on a device: states and masks without a look at the host.

Every method is a fixed sequence of tensor operations: no Python branch on a value, no copy between host and device,
no wait for the device. So they can stand in a function under ``torch.compile(fullgraph=True)`` and in a CUDA graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastmask import _core
from fastmask.errors import CompileLimitError, InputError, InputTypeError
from fastmask.extras import naming_extras
from fastmask.transitions import Transitions

with naming_extras():
    import torch
    from torch import Tensor

    from fastmask.torch import mask_logits

if TYPE_CHECKING:
    from fastmask.constraint import Constraint

__all__ = ["OnDevice"]

_NOWHERE = 0  # the class of tokens that lead every state but FREE to DEAD


@dataclass(frozen=True, eq=False, repr=False)
class OnDevice:
    """What :meth:`fastmask.Constraint.on` gives: the constraint's states and masks as tensor operations.

    One step of decoding, for ``states`` [B] that begin as ``initial_state``::

        tokens = dev.mask(logits, states).argmax(-1)
        states = dev.advance(states, tokens)

    ``states`` and ``tokens`` are int32 or int64 tensors of any shape on this device. A number out of range cannot
    raise, because nobody waits for the device: a token id outside the vocabulary leads to DEAD (from FREE to FREE),
    a state outside 0 … ``num_states - 1`` counts as DEAD. Nothing outside the tables is ever read.

    The functions of :mod:`fastmask.torch` take it in place of the constraint.
    """

    vocab_size: int
    """Width of the masks."""
    _next: Tensor  # int32 [num_states, num_classes]: the state after a token of each class
    _class_of: Tensor  # int64 [vocab_size + 1]; the last one for ids outside the vocabulary
    _masks: Tensor  # bool [num_masks, vocab_size], each once
    _words: Tensor  # int32 [num_masks, ceil(vocab_size / 32)]: the same, packed
    _row_of: Tensor  # int64 [num_states]: the row of _masks
    _final: Tensor  # bool [num_states]

    @staticmethod
    def of(con: Constraint, table: Transitions, row_of: npt.NDArray[np.int32], device: Any, max_bytes: int) -> OnDevice:
        """Not public: use :meth:`fastmask.Constraint.on`. ``row_of`` [num_states] numbers the distinct masks."""
        place = _device(device)
        small = {
            "_next": table.next,
            "_class_of": np.append(table.class_of, _NOWHERE).astype(np.int64),
            "_row_of": row_of.astype(np.int64),
            "_final": con.is_final(np.arange(con.num_states)),
        }
        first_states = np.unique(row_of, return_index=True)[1]  # one state for each distinct mask
        _require_within(max_bytes, sum(array.nbytes for array in small.values()), len(first_states), con)
        arrays = {**small, "_masks": con.allowed(first_states), "_words": con.bitmask(first_states)}
        return OnDevice(con.vocab_size, **{name: torch.tensor(array, device=place) for name, array in arrays.items()})

    @property
    def initial_state(self) -> int:
        """The state before the first constrained token."""
        return _core.INITIAL

    @property
    def num_states(self) -> int:
        """Number of states, FREE, DONE and DEAD included."""
        return self._next.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self._next.device

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors on the device."""
        tensors = (self._next, self._class_of, self._masks, self._words, self._row_of, self._final)
        return sum(tensor.nbytes for tensor in tensors)

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        """One token further: int32 [...] from states [...] and tokens [...].

        Raises:
            InputError: the shapes differ.
            InputTypeError: not int32 or int64 tensors on this device.
        """
        rows, ids = self._rows(states), self._indices(tokens, "tokens", self.vocab_size, self.vocab_size)
        if rows.shape != ids.shape:
            raise InputError(
                f"states have shape {tuple(rows.shape)}, tokens {tuple(ids.shape)}: expected one token for each state"
            )
        return self._next[rows, self._class_of[ids]]

    def allowed(self, states: Tensor) -> Tensor:
        """Boolean masks: bool [..., vocab_size] from states [...]; True = allowed. No row is empty.

        Raises:
            InputTypeError: not an int32 or int64 tensor on this device.
        """
        return self._masks[self._row_of[self._rows(states)]]

    def allowed_counts(self, states: Tensor) -> Tensor:
        """How many tokens are allowed, at least 1: int64 [...] from states [...].

        Raises:
            InputTypeError: not an int32 or int64 tensor on this device.
        """
        return self._masks.sum(-1)[self._row_of[self._rows(states)]]

    def packed(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The distinct masks, int32 [num_masks, ceil(vocab_size / 32)], and the row that each state has, int64 [...].

        For fastmask's own kernels. The bits are those of :meth:`fastmask.Constraint.bitmask`.

        Raises:
            InputTypeError: not an int32 or int64 tensor on this device.
        """
        return self._words, self._row_of[self._rows(states)]

    def mask(self, logits: Tensor, states: Tensor) -> Tensor:
        """``-inf`` where a token is not allowed: logits [..., V'] → a new tensor of the same shape and dtype.

        Columns beyond the vocabulary are never allowed.

        Raises:
            InputError: ``logits`` are narrower than the vocabulary, or ``states`` has not one id a row.
            InputTypeError: logits that are no floats, states that are no int32 or int64 tensor on this device.
        """
        return mask_logits(logits, states, self)

    def is_final(self, states: Tensor) -> Tensor:
        """May the text end here? bool [...] from states [...]; True for DONE, false for FREE and DEAD.

        Raises:
            InputTypeError: not an int32 or int64 tensor on this device.
        """
        return self._final[self._rows(states)]

    def _rows(self, states: Tensor) -> Tensor:
        return self._indices(states, "states", self.num_states, _core.DEAD)

    def _indices(self, ids: Tensor, name: str, count: int, otherwise: int) -> Tensor:
        """``ids`` as indices below ``count``, with ``otherwise`` in place of those that are not."""
        if not isinstance(ids, Tensor) or ids.dtype not in (torch.int32, torch.int64):
            got = getattr(ids, "dtype", type(ids).__name__)
            raise InputTypeError(f"{name} must be a tensor of int32 or int64, got {got}")
        if ids.device != self.device:
            raise InputTypeError(f"{name} are on {ids.device}, this constraint on {self.device}: move one to the other")
        index = ids.long()
        return index.masked_fill((index < 0) | (index >= count), otherwise)

    def __repr__(self) -> str:
        return (
            f"OnDevice({str(self.device)!r}, num_states={self.num_states:,}, num_classes={self._next.shape[1]:,},"
            f" num_masks={len(self._masks):,}, vocab_size={self.vocab_size:,}, nbytes={self.nbytes:,})"
        )


def _device(device: Any) -> torch.device:
    try:
        return torch.empty(0, device=torch.device(device)).device
    except (RuntimeError, TypeError, AssertionError) as error:  # the last where torch was built without the device
        why = str(error).partition(". ")[0]
        raise InputTypeError(f'device must be one that torch has here, such as "cpu", got {device!r}: {why}') from None


def _require_within(max_bytes: int, transitions: int, num_masks: int, con: Constraint) -> None:
    masks = num_masks * (con.vocab_size + (con.vocab_size + 31) // 32 * 4)  # as booleans, and packed
    if masks + transitions > max_bytes:
        raise CompileLimitError(
            f"on a device this constraint takes {masks + transitions:,} bytes: {masks:,} for {num_masks:,} masks of"
            f" {con.vocab_size:,} tokens, {transitions:,} for the transitions of {con.num_states:,} states; the limit"
            f" is {max_bytes:,}. Raise max_bytes, or make the format simpler (lower counts in {{m,n}} or maxLength)"
        )
