"""Tokens → states, for batches of every shape: the part of a constraint that reads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastmask import _core
from fastmask.errors import InputError, TokenRangeError
from fastmask.rows import (
    INT32,
    INT64,
    After,
    is_plain,
    is_tensor,
    like,
    plain,
    start_per_row,
    state_array,
    state_per_row,
    to_numpy,
    token_array,
    token_rows,
    token_trees,
    writable,
)
from fastmask.vocabulary import Vocabulary

__all__ = ["Check", "Walks"]


class Check(NamedTuple):
    """What :meth:`Constraint.check` found out about each row."""

    first_error: Any
    """int64 [B]: index of the first token that broke the constraint, -1 = none."""
    complete: Any
    """bool [B]: the row's last state is final (or DONE): nothing is missing. False for unconstrained rows."""


class Walks:
    """What :class:`fastmask.Constraint` does with tokens; not made by itself."""

    _vocabulary: Vocabulary
    _engine: _core.Engine
    _final: npt.NDArray[np.bool_]  # [num_states]

    def walk(self, tokens: Any, start: Any = 0, lengths: Any = None, states: Any = None, out: Any = None) -> Any:
        """The state after every token of every row.

        Args:
            tokens: integers [B, T], or a list of B rows of any lengths.
            start: index of each row's first constrained token, 0 … its length: one integer, integers [B], or
                ``fm.after(token_id)``. Tokens before it are not looked at.
            lengths: integers [B], where rows of an array are padded on the right.
            states: integers [B], the state of each row before its first constrained token, in place of the
                ``initial_state``: a walk goes on from ``states=earlier[:, -1]``.
            out: a contiguous int32 array or CPU tensor [B, T] to write to instead of a new one.

        Returns:
            int32 [B, T] (ragged rows: T is the longest). Positions past a row's length repeat its last state.

        Raises:
            TokenRangeError: a token id outside the vocabulary or a state outside 0 … ``num_states - 1``; the
                message names row and position.
            InputError, InputTypeError: shapes, dtypes, starts, lengths or ``out`` that do not fit.
        """
        rows = token_rows(tokens, lengths)
        first = None if states is None else state_per_row(states, len(rows.offsets))
        index, trigger = self._start(start, len(rows.offsets))
        shape = (len(rows.offsets), rows.width)
        walked = np.empty(shape, np.int32) if out is None else writable(out, shape, np.int32)
        self._engine.walk(rows.flat, rows.offsets, rows.lengths, index, trigger, first, walked)
        return like(walked, rows.template) if out is None else out

    def walk_flat(self, tokens: Any, offsets: Any, start: Any = 0, out: Any = None) -> npt.NDArray[np.int32]:
        """The state after every token of rows that stand one behind the other, without padding, as in Arrow lists.

        Args:
            tokens: integers [N], numpy.
            offsets: integers [B + 1], ascending: row ``b`` is ``tokens[offsets[b] : offsets[b + 1]]``.
            start: as for :meth:`walk`.
            out: a contiguous int32 array [N] to write to instead of a new one.

        Returns:
            int32 [N]: each row's states where its tokens stand. What lies outside all rows is left unwritten.

        Raises:
            TokenRangeError, InputError, InputTypeError: as for :meth:`walk`, or offsets that descend or lie outside
                the tokens.
        """
        flat, bounds = token_array(tokens), token_array(offsets).astype(np.int64, copy=False)
        if flat.ndim != 1 or bounds.ndim != 1 or not len(bounds):
            raise InputError(f"expected tokens [N] and offsets [B + 1], got shapes {flat.shape} and {bounds.shape}")
        lengths = np.diff(bounds)
        if (lengths < 0).any():
            row = int(np.argmax(lengths < 0))
            raise InputError(f"offsets must ascend, got {bounds[row]} and then {bounds[row + 1]} for row {row}")
        if bounds[0] < 0 or bounds[-1] > len(flat):
            raise InputError(f"offsets must lie within 0 … {len(flat)}, the tokens, got {bounds[0]} … {bounds[-1]}")
        index, trigger = self._start(start, len(lengths))
        walked = np.empty(flat.shape, np.int32) if out is None else writable(out, flat.shape, np.int32)
        self._engine.walk_flat(flat, bounds[:-1], lengths, index, trigger, None, walked)
        return walked

    def walk_tree(self, states: Any, tokens: Any, parents: Any) -> Any:
        """The state after every node of a tree of tokens, such as a draft model proposes for speculative decoding.

        Args:
            states: integers [B], the state of each row before its tree.
            tokens: integers [B, N], the token of each node.
            parents: integers [N], one shape for all rows, or [B, N]: the index of each node's parent in its row,
                smaller than its own; -1 for a node that directly follows ``states``.

        Returns:
            int32 [B, N]: where each node's text stands, DEAD below a DEAD node. The masks for what may follow
            the nodes are ``bitmask`` or ``allowed`` of it, in one call for all.

        Raises:
            TokenRangeError: a token id or state outside its range; the message names row and node.
            InputError: shapes that do not fit, or a parent that is none of the nodes before.
            InputTypeError: not integers.
        """
        ids, above = token_trees(tokens, parents)
        roots = state_per_row(states, len(ids))
        walked = self._engine.walk_trees(roots, ids, above, ids.shape[1])
        return like(walked, states if is_tensor(states) else tokens)

    def advance(self, states: Any, tokens: Any) -> Any:
        """One token further: int32 [...] from states [...] and tokens [...]; one ``int`` from two.

        Raises:
            TokenRangeError: a state or token id outside its range.
            InputError: the shapes differ.
            InputTypeError: not integers.
        """
        if is_plain(states, INT32) and is_plain(tokens, INT64) and states.shape == tokens.shape == (states.size,):
            return self._engine.advance(states, tokens)
        ids, taken = state_array(states), token_array(tokens)
        if ids.shape != taken.shape:
            raise InputError(f"states have shape {ids.shape}, tokens {taken.shape}: expected one token for each state")
        following = self._engine.advance(ids.reshape(-1), taken.reshape(-1)).reshape(ids.shape)
        return plain(like(following, states if is_tensor(states) else tokens))

    def check(self, tokens: Any, start: Any = 0, lengths: Any = None) -> Check:
        """Where each row first breaks the constraint, and whether it is complete; arguments as for :meth:`walk`.

        A row that ends in a final state is complete, with or without EOS. What follows EOS, padding included,
        is an error unless it is EOS: give ``lengths``.

        Raises:
            TokenRangeError, InputError, InputTypeError: as for :meth:`walk`.
        """
        rows = token_rows(tokens, lengths)
        walked = to_numpy(self.walk(tokens, start, lengths), "states")
        dead = walked == _core.DEAD
        first = np.where(dead.any(axis=1), dead.argmax(axis=1), -1) if rows.width else np.full(len(walked), -1)
        last = walked[:, -1] if rows.width else np.full(len(walked), _core.INITIAL)
        return Check(
            first_error=like(first.astype(np.int64), rows.template),
            complete=like(self._final[last], rows.template),
        )

    def _start(self, start: Any, rows: int) -> tuple[npt.NDArray[np.int64] | None, int]:
        """The kernel's form of a start: an index for each row, or the token to wait for."""
        if isinstance(start, After):
            return None, self._token(start.token_id)
        return start_per_row(start, rows), 0

    def _token(self, token_id: int) -> int:
        if not 0 <= token_id < self._vocabulary.size:
            raise TokenRangeError(f"token id {token_id} lies outside 0 … {self._vocabulary.size - 1}, the vocabulary")
        return token_id
