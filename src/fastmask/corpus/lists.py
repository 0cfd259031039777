"""Arrow lists of token ids ↔ flat arrays, without copying where Arrow has them in one piece."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fastmask.errors import InputTypeError

__all__ = ["TokenLists", "lists_of", "token_lists"]


class TokenLists(NamedTuple):
    """Rows of token ids: row ``b`` is ``tokens[offsets[b] : offsets[b + 1]]``."""

    tokens: npt.NDArray[Any]  # int32 or int64 [N]
    offsets: npt.NDArray[np.int64]  # [B + 1], from 0 to N
    is_null: npt.NDArray[np.bool_]  # [B]: null in place of a list or among its ids; of length 0 here

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """[B]"""
        return np.diff(self.offsets)


def token_lists(column: pa.Array, name: str) -> TokenLists:
    """The rows of one chunk of a list column; slices are honoured.

    Raises:
        InputTypeError: not lists of integers.
    """
    if isinstance(column, pa.ExtensionArray):
        column = _behind_extension(column)
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise InputTypeError(f"column {name!r} must hold lists of token ids, got {column.type}")
    if not (pa.types.is_integer(column.type.value_type) or pa.types.is_null(column.type.value_type)):
        raise InputTypeError(f"column {name!r} must hold lists of integers, got {column.type}")
    tokens, offsets = _flat(column)
    if tokens.null_count:
        column = _null_where_an_id_is(column, tokens, offsets)
        tokens, offsets = _flat(column)
    return TokenLists(_ids(tokens), offsets, column.is_null().to_numpy(zero_copy_only=False))


def _behind_extension(column: pa.ExtensionArray) -> pa.Array:
    """The lists behind a column of tensors of one dimension, which is how Ray Data keeps numpy's arrays."""
    kind, storage = column.type, column.storage
    if getattr(kind, "ndim", None) == 1:  # of any lengths: a struct of the data and its shape
        return storage.field("data")
    return storage if len(getattr(kind, "shape", ())) == 1 else column


def _flat(column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """All rows' ids, and the offsets between which each row's stand; a null has none."""
    if column.null_count:  # what lies between the offsets of a null is nobody's
        tokens = column.flatten()
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
        return tokens, np.concatenate([[0], np.cumsum(lengths)])
    bounds = column.offsets.to_numpy().astype(np.int64)
    offsets = bounds - bounds[0]
    return column.values.slice(bounds[0], offsets[-1]), offsets


def _null_where_an_id_is(column: pa.Array, tokens: pa.Array, offsets: npt.NDArray[np.int64]) -> pa.Array:
    holes = np.flatnonzero(tokens.is_null().to_numpy(zero_copy_only=False))
    sound = np.ones(len(column), np.bool_)
    sound[np.searchsorted(offsets, holes, "right") - 1] = False
    return pc.if_else(pa.array(sound), column, pa.scalar(None, column.type))


def _ids(tokens: pa.Array) -> npt.NDArray[Any]:
    kept = pa.types.is_int32(tokens.type) or pa.types.is_int64(tokens.type)
    # Unsafe for uint64 alone: beyond 63 bits are negative numbers that once lost their sign, and become them again.
    ids: npt.NDArray[Any] = (tokens if kept else tokens.cast(pa.int64(), safe=False)).to_numpy(zero_copy_only=True)
    return ids


def lists_of(values: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> pa.Array:
    """Arrow lists of ``values`` [N], of the arrays' own memory; ``list`` where the offsets fit, else ``large_list``."""
    small = offsets[-1] <= np.iinfo(np.int32).max
    bounds = pa.array(offsets.astype(np.int32) if small else offsets)
    return (pa.ListArray if small else pa.LargeListArray).from_arrays(bounds, pa.array(values))
