"""Examples of unequal lengths → one padded batch for a trainer, with a state at every position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fastmask import _core
from fastmask.constraint import Constraint
from fastmask.errors import InputError, InputTypeError, TokenRangeError
from fastmask.rows import integer

__all__ = ["ConstraintCollator"]

IGNORED = -100  # what torch's cross-entropy leaves out


class ConstraintCollator:
    """A data collator for ``Trainer`` and ``DataLoader``; picklable, so workers may be forked or spawned.

    Args:
        con: the constraint of the examples' states.
        pad_token_id: what pads ``input_ids``; ``None``: the vocabulary's lowest EOS id. Padding has no label and no
            attention, whatever the id, so it may be EOS.
        start: index of the first constrained token of examples that have neither ``start`` nor ``states``; as for
            :meth:`Constraint.walk`. ``None``: there are no such examples, and one that comes is refused.
        pad_to_multiple_of: widths are rounded up to a multiple of it.

    Raises:
        InputTypeError: ``con`` that is no constraint, ``pad_token_id`` that is no integer.
        InputError: ``pad_to_multiple_of`` below 1.
        TokenRangeError: a ``pad_token_id`` that the vocabulary does not have.
    """

    def __init__(
        self, con: Constraint, pad_token_id: int | None = None, start: Any = None, pad_to_multiple_of: int = 1
    ) -> None:
        if not isinstance(con, Constraint):
            raise InputTypeError(f"con must be a fastmask.Constraint, got {type(con).__name__}")
        if pad_token_id is not None and not 0 <= integer(pad_token_id, "pad_token_id") < con.vocab_size:
            raise TokenRangeError(f"pad_token_id {pad_token_id} lies outside 0 … {con.vocab_size - 1}, the vocabulary")
        if pad_to_multiple_of < 1:
            raise InputError(f"pad_to_multiple_of must be at least 1, got {pad_to_multiple_of}")
        self.con = con
        self.pad_token_id = con.vocabulary.eos_token_ids[0] if pad_token_id is None else pad_token_id
        self.start = start
        self.pad_to_multiple_of = pad_to_multiple_of

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Examples with ``input_ids``, and ``states`` and ``start`` where they were annotated → tensors [B, T].

        ``input_ids`` and ``labels`` int64, ``attention_mask`` int64, ``states`` int32, padded on the right.
        ``labels`` are the ids of the constrained part and -100 elsewhere, unshifted, as transformers' models shift
        them (so the first token, which nothing predicts, has none). A token that breaks the constraint is not right,
        and behind it there is none to teach but EOS: from there on a row has no labels. ``states[b, t]`` goes with
        ``logits[b, t]``; padding is FREE. States that the examples do not carry are computed.

        Raises:
            InputError: no example, one without ``input_ids``, one of which nothing tells where its constraint
                begins, or states that are not as many as its ids.
        """
        rows = [_ids(example, number) for number, example in enumerate(examples)]
        if not rows:
            raise InputError("a batch needs at least one example")
        longest = max(map(len, rows))
        width = -(-longest // self.pad_to_multiple_of) * self.pad_to_multiple_of
        states = [self._states(example, row, n) for n, (example, row) in enumerate(zip(examples, rows, strict=True))]
        ids = _padded(rows, width, self.pad_token_id, np.int64)
        is_token = np.arange(width) < np.array([len(row) for row in rows])[:, None]
        labelled = is_token & (_padded([_has_label(row) for row in states], width, False, np.bool_))
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(is_token.astype(np.int64)),
            "labels": torch.from_numpy(np.where(labelled, ids, IGNORED)),
            "states": torch.from_numpy(_padded(states, width, _core.FREE, np.int32)),
        }

    def _states(self, example: Mapping[str, Any], ids: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.int32]:
        if example.get("states") is None:
            start = example.get("start", self.start)
            if start is None:
                raise InputError(
                    f"example {number} has neither states nor start: fastmask.corpus.annotate gives it both; or give"
                    " the collator a start; with transformers' own Trainer, set remove_unused_columns=False"
                )
            walked: npt.NDArray[np.int32] = self.con.walk(ids[None], start=start)[0]
            return walked
        states = np.asarray(example["states"], np.int32)
        if states.shape != ids.shape:
            raise InputError(f"example {number} has {len(ids)} input_ids and {len(states)} states: annotate it anew")
        return states


def _has_label(states: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """bool [T]: does the state before token t constrain it, and does it keep to that? Nothing predicts the first."""
    labelled = np.zeros(len(states), np.bool_)
    labelled[1:] = (states[:-1] != _core.FREE) & (states[1:] != _core.DEAD)
    return labelled


def _ids(example: Mapping[str, Any], number: int) -> npt.NDArray[np.int64]:
    if "input_ids" not in example:
        raise InputError(
            f"example {number} has no input_ids, only {', '.join(example) or 'nothing'}: fastmask.corpus.annotate makes"
            " them; with transformers' own Trainer, set remove_unused_columns=False"
        )
    ids = np.asarray(example["input_ids"], np.int64)
    if ids.ndim != 1:
        raise InputError(f"the input_ids of example {number} must be one row of ids, got shape {ids.shape}")
    return ids


def _padded(rows: Sequence[npt.NDArray[Any]], width: int, padding: Any, dtype: Any) -> npt.NDArray[Any]:
    """[B, width], padded on the right."""
    padded = np.full((len(rows), width), padding, dtype)
    for line, row in zip(padded, rows, strict=True):
        line[: len(row)] = row
    return padded
