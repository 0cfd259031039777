"""All transitions of a constraint as one table, and how many tokens each state is away from the end.

Tokens that lead every state to the same state share a column, so the table is small: the vocabulary counts only in
``class_of`` and in the masks that are asked for.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from fastmask import _core

__all__ = ["MAX_TABLE_BYTES", "Transitions"]

MAX_TABLE_BYTES = 1 << 30  # that all transitions may take, unless told otherwise

UNREACHABLE = -1


class Transitions:
    """``next[state, class_of[token]]`` is the state after ``token`` in ``state``, for every state and token.

    Immutable: any number of threads may read it.
    """

    class_of: npt.NDArray[np.int32]
    """[V]: the class of each token. Class 0 never keeps a text alive: it leads to DEAD, from FREE to FREE."""
    next: npt.NDArray[np.int32]
    """[num_states, num_classes]"""
    distance: npt.NDArray[np.int32]
    """[num_states]: fewest tokens to a state where the text may end, 0 for FREE; -1: there is no way."""

    def __init__(self, engine: _core.Engine, max_bytes: int) -> None:
        """The table of an engine's automaton.

        Raises:
            CompileLimitError: it would take more than ``max_bytes``.
        """
        self.class_of, self.next = engine.token_classes(min(max_bytes, 2**63 - 1))
        ends = engine.final_states().astype(bool)
        ends[_core.FREE] = True  # nothing is missing where nothing is asked
        self.distance = _distances(self.next, ends)
        for array in (self.class_of, self.next, self.distance):
            array.flags.writeable = False

    @cached_property
    def farthest(self) -> int:
        """The most tokens that a state of the text is away from the end; -1: from some there is no way."""
        of_text = self.distance[_core.INITIAL :]
        return UNREACHABLE if (of_text == UNREACHABLE).any() else int(of_text.max())

    @property
    def num_classes(self) -> int:
        """Classes of tokens, class 0 included."""
        return int(self.next.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the table and the distances."""
        return self.class_of.nbytes + self.next.nbytes + self.distance.nbytes

    def within(self, states: npt.NDArray[np.int32], limits: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """bool [N, V] for states [N] and limits [N]: tokens after which the text may end ``limits[i]`` tokens later.

        A row may be empty, unlike a mask's: EOS is among the tokens only where it leads to DONE.
        """
        left = self.distance[self.next[states]]  # [N, num_classes]
        near: npt.NDArray[np.bool_] = (left != UNREACHABLE) & (left <= limits[:, None])
        return near[:, self.class_of]


def _distances(following: npt.NDArray[np.int32], ends: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Fewest steps from each state to one of ``ends``: a breadth-first search from these backwards."""
    sources, begin = _predecessors(following)
    distance = np.where(ends, 0, UNREACHABLE).astype(np.int32)
    frontier, steps = np.flatnonzero(ends), 0
    while frontier.size:
        steps += 1
        before = np.concatenate([sources[begin[state] : begin[state + 1]] for state in frontier])
        frontier = np.unique(before[distance[before] == UNREACHABLE])
        distance[frontier] = steps
    return distance


def _predecessors(following: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The states that lead to ``s`` in one step, each once: ``sources[begin[s] : begin[s + 1]]``."""
    targets = [np.unique(row) for row in following]
    flat = np.concatenate(targets)
    sources = np.repeat(np.arange(len(following)), [len(row) for row in targets])
    by_target = np.argsort(flat, kind="stable")
    return sources[by_target], np.searchsorted(flat[by_target], np.arange(len(following) + 1))
