"""What users pass as batches → the flat arrays that the kernel walks.

numpy arrays, torch tensors and ragged lists all become one :class:`TokenRows`; results go back in the form
the tokens came in. torch is recognised without being imported.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastmask import _core
from fastmask.errors import InputError, InputTypeError, TokenRangeError

__all__ = [
    "BOOL",
    "INT32",
    "INT64",
    "After",
    "TokenRows",
    "after",
    "integer",
    "is_plain",
    "is_tensor",
    "like",
    "plain",
    "start_per_row",
    "state_array",
    "state_per_row",
    "strings",
    "to_numpy",
    "token_array",
    "token_rows",
    "token_trees",
    "writable",
]


INT32, INT64, BOOL = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.bool_)


class After(NamedTuple):
    """A start that each row finds for itself: see :func:`after`."""

    token_id: int
    """The token to wait for."""


def after(token_id: int) -> After:
    """Constrain what comes behind the first occurrence of ``token_id``; a row without it stays unconstrained.

    Raises:
        InputTypeError: ``token_id`` is not an integer.
    """
    if isinstance(token_id, str):
        raise InputTypeError(
            f"after() takes the id of one token, got the text {token_id!r}; tokenizer.convert_tokens_to_ids gives a"
            f" special token's id, and con.after({token_id!r}) is the constraint that itself waits for a text"
        )
    return After(integer(token_id, "after() takes a token id (tokenizer.convert_tokens_to_ids gives it), which"))


class TokenRows(NamedTuple):
    """Rows of token ids in one flat array: row ``b`` is ``flat[offsets[b] : offsets[b] + lengths[b]]``."""

    flat: npt.NDArray[np.int32] | npt.NDArray[np.int64]  # [total]
    offsets: npt.NDArray[np.int64]  # [B]
    lengths: npt.NDArray[np.int64]  # [B]
    width: int  # T, the length of the longest row or the array's second dimension
    template: Any  # a tensor whose device results go to, or None for numpy


def integer(value: Any, name: str) -> int:
    """One integer, numpy's included. Raises InputTypeError for anything else, booleans too."""
    try:
        if not isinstance(value, (bool, np.bool_)):
            return operator.index(value)
    except TypeError:
        pass
    raise InputTypeError(f"{name} must be an integer, got {value!r}")


def strings(values: Any, name: str) -> list[str]:
    """A list of strings. Raises InputTypeError for anything else, a single string too."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InputTypeError(f"{name} must be a list of strings, got {values!r:.80}")
    listed = list(values)
    wrong = [value for value in listed if not isinstance(value, str)]
    if wrong:
        raise InputTypeError(f"{name} must be a list of strings, got {wrong[0]!r:.80} among them")
    return listed


def is_tensor(value: object) -> bool:
    """Is this a torch tensor? (If torch was never imported, it cannot be.)"""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_plain(value: object, dtype: np.dtype[Any]) -> bool:
    """Is this an array that the kernel takes as it is? If not, it may be one all the same, once it is looked at closer.

    Numpy has one object for each type in the machine's own byte order; another one is left to the closer look.
    """
    return type(value) is np.ndarray and value.dtype is dtype and value.flags.carray


def to_numpy(value: Any, name: str) -> npt.NDArray[Any]:
    """A numpy view of an array or CPU tensor; a copy of anything else.

    Raises:
        InputTypeError: nested lists of unequal lengths, or a tensor that numpy cannot hold (bfloat16, sparse, meta).
    """
    try:
        return value.detach().cpu().numpy() if is_tensor(value) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # torch raises either of three, NotImplementedError included
        form = f"a {value.layout} tensor of {value.dtype} on {value.device}" if is_tensor(value) else "nested lists"
        raise InputTypeError(f"{name} must be one array of integers, got {form}: {error}") from None


def like(result: npt.NDArray[Any], template: Any) -> Any:
    """``result`` as a tensor on the template's device if the template is a tensor, else itself."""
    if not is_tensor(template):
        return result
    return sys.modules["torch"].from_numpy(np.asarray(result)).to(template.device)


def plain(result: Any) -> Any:
    """A Python number in place of a zero-dimensional array (tensors stay tensors)."""
    return result.item() if isinstance(result, (np.ndarray, np.generic)) and result.ndim == 0 else result


def writable(out: Any, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """``out`` as a numpy view that the kernel can write to.

    Raises:
        InputTypeError: neither a numpy array nor a CPU tensor, or of another dtype.
        InputError: of another shape, not contiguous, or not to be written to.
    """
    if is_tensor(out) and out.device.type != "cpu":
        raise InputTypeError(f"out must be a numpy array or a CPU tensor, got a tensor on {out.device}")
    view = to_numpy(out, "out") if is_tensor(out) else out
    if not isinstance(view, np.ndarray) or view.dtype != dtype:
        got = getattr(out, "dtype", type(out).__name__)
        raise InputTypeError(f"out must be an array of {np.dtype(dtype)}, got {got}")
    if view.shape != shape or not view.flags.c_contiguous or not view.flags.writeable:
        raise InputError(f"out must be contiguous, writable and of shape {shape}, got shape {view.shape}")
    return view


def token_rows(tokens: Any, lengths: Any = None) -> TokenRows:
    """Rows from a [B, T] array or tensor of integers, or from a list of rows of any lengths.

    Raises:
        InputTypeError: the ids are not integers.
        InputError: the array is not two-dimensional, or ``lengths`` does not fit.
    """
    if is_tensor(tokens) or isinstance(tokens, np.ndarray):
        return _rows_of_array(tokens, lengths)
    if lengths is not None:
        raise InputError("lengths go with a padded [B, T] array; the rows of a list have their own")
    return _rows_of_list(tokens)


def _rows_of_array(tokens: Any, lengths: Any) -> TokenRows:
    ids = _integers(to_numpy(tokens, "tokens"), "tokens")
    if ids.ndim != 2:
        raise InputError(
            f"tokens must have two dimensions [batch, time], got shape {ids.shape}; for one row: tokens[None]"
        )
    rows, width = ids.shape
    return TokenRows(
        flat=np.ascontiguousarray(ids).reshape(-1),
        offsets=np.arange(rows, dtype=np.int64) * width,
        lengths=np.full(rows, width, dtype=np.int64) if lengths is None else _lengths(lengths, rows, width),
        width=width,
        template=tokens if is_tensor(tokens) else None,
    )


def _rows_of_list(tokens: Any) -> TokenRows:
    if isinstance(tokens, list) and (plain_ints := _core.flat_rows(tokens)) is not None:
        flat, bounds = plain_ints
        lengths = np.diff(bounds)
        return TokenRows(flat, bounds[:-1], lengths, int(lengths.max(initial=0)), None)
    return _rows_of_anything(tokens)


def _rows_of_anything(tokens: Any) -> TokenRows:
    try:
        rows: Sequence[Any] = list(tokens)
        sizes = [len(row) for row in rows]
    except TypeError:
        raise InputTypeError(
            f"tokens must be a [batch, time] array, a tensor or a list of rows, got {type(tokens).__name__}"
            " with something else inside; for one row: [tokens]"
        ) from None
    if rows and all(is_tensor(row) or isinstance(row, np.ndarray) for row in rows):
        flat = np.concatenate([_integers(_one_row(row), "tokens") for row in rows])
    else:
        flat = _one_row(list(chain.from_iterable(rows)))
    lengths = np.array(sizes, dtype=np.int64)
    offsets = np.cumsum(lengths) - lengths
    template = rows[0] if rows and is_tensor(rows[0]) else None
    return TokenRows(_integers(flat, "tokens"), offsets, lengths, max(sizes, default=0), template)


def _one_row(row: Any) -> npt.NDArray[Any]:
    array = to_numpy(row, "tokens")
    if array.ndim != 1:
        raise InputError(f"each row of tokens must be a list of integers, got one of shape {array.shape[-2:]}")
    return array


def _lengths(lengths: Any, rows: int, width: int) -> npt.NDArray[np.int64]:
    array = _integers(to_numpy(lengths, "lengths"), "lengths").astype(np.int64)
    if array.shape != (rows,):
        raise InputError(f"lengths must have one number for each of the {rows} rows, got shape {array.shape}")
    bad = np.flatnonzero((array < 0) | (array > width))
    if bad.size:
        raise InputError(f"length {array[bad[0]]} of row {bad[0]} lies outside 0 … {width}, the array's width")
    return array


def start_per_row(start: Any, rows: int) -> npt.NDArray[np.int64]:
    """``start`` as one int64 for each row; whether it lies within its row is the kernel's to check.

    Raises:
        InputTypeError: not integers.
        InputError: not one number, nor one for each row.
    """
    array = _integers(to_numpy(start, "start"), "start").astype(np.int64)
    if array.shape not in [(), (rows,)]:
        raise InputError(f"start must be one integer or one for each of the {rows} rows, got shape {array.shape}")
    return np.ascontiguousarray(np.broadcast_to(array, (rows,)))


def token_array(tokens: Any) -> npt.NDArray[Any]:
    """Token ids of any shape as contiguous int32 or int64. Raises InputTypeError if they are not integers."""
    return np.asarray(_integers(to_numpy(tokens, "tokens"), "tokens"), order="C")


def state_array(states: Any) -> npt.NDArray[np.int32]:
    """State ids of any shape as contiguous int32.

    Raises:
        InputTypeError: not integers.
        TokenRangeError: a number beyond int32, which is no state id.
    """
    array = _integers(to_numpy(states, "states"), "states")
    if array.dtype != np.int32:
        outside = array[(array < -(2**31)) | (array >= 2**31)]
        if outside.size:
            raise TokenRangeError(f"state {outside[0]} lies outside 32 bits and is no state of any constraint")
        array = array.astype(np.int32)
    return np.asarray(array, order="C")  # unlike ascontiguousarray, keeps a single number zero-dimensional


def state_per_row(states: Any, rows: int) -> npt.NDArray[np.int32]:
    """State ids as int32 [rows]; raises as :func:`state_array`, and InputError for another shape."""
    array = state_array(states)
    if array.shape != (rows,):
        raise InputError(f"states must have one state for each of the {rows} rows, got shape {array.shape}")
    return array


def token_trees(tokens: Any, parents: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Tokens [B, N] as int32 or int64, parents [B, N] as int64; which parents may be is the kernel's to check.

    Raises:
        InputTypeError: not integers.
        InputError: ``tokens`` not two-dimensional, ``parents`` of another shape.
    """
    ids, above = token_array(tokens), _integers(to_numpy(parents, "parents"), "parents")
    if ids.ndim != 2:
        raise InputError(f"tokens must have two dimensions [batch, nodes], got shape {ids.shape}")
    if above.shape not in [ids.shape, ids.shape[1:]]:
        raise InputError(
            f"parents must have shape {ids.shape[1:]}, one tree for all rows, or {ids.shape}, got {above.shape}"
        )
    return ids, np.ascontiguousarray(np.broadcast_to(above, ids.shape), dtype=np.int64)


def _integers(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """The array as int32 or int64; anything that is not an integer is refused."""
    if array.dtype == np.int32 or array.dtype == np.int64:
        return array
    if array.size == 0 and array.dtype == np.float64:  # what numpy makes of an empty list
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise InputTypeError(f"{name} must be integers, got dtype {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"{name} hold numbers beyond 63 bits")
    return array.astype(np.int64)
