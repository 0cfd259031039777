"""Packed masks as all engines write them: bit ``i % 32`` of word ``i // 32`` is token ``i``, 1 = allowed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int32]  # [n, words_for(V)]


def words_for(vocab_size: int) -> int:
    return (vocab_size + 31) // 32


def empty_rows(count: int, vocab_size: int) -> Rows:
    return np.zeros((count, words_for(vocab_size)), np.int32)


def are_allowed(tokens: npt.NDArray[np.integer], rows: Rows) -> npt.NDArray[np.bool_]:
    """bool [n]: is each token [n] allowed by its row?"""
    return (rows[np.arange(len(tokens)), tokens // 32] >> (tokens % 32) & 1).astype(bool)
