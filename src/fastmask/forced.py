"""Bytes that must come next: where an automaton leaves no choice."""

from __future__ import annotations

import numpy as np

from fastmask import _core

__all__ = ["ForcedBytes"]


class ForcedBytes:
    """The one byte that may follow in each state that has no choice. Immutable; made once for an automaton."""

    def __init__(self, automaton: _core.Automaton) -> None:
        class_of, _, flags, table = automaton.to_arrays()
        following = table.reshape(len(flags), -1)  # [num states of the text, num classes], -1 = dead
        live = following >= 0
        bytes_in_class = np.bincount(class_of, minlength=following.shape[1])
        choices = (live * bytes_in_class).sum(axis=1)
        self._forced = (choices == 1) & (flags == 0)  # ending is a choice too, and so is thinking on
        only = live.argmax(axis=1)
        first_byte = np.array([np.flatnonzero(class_of == c)[0] for c in range(following.shape[1])])
        self._byte = first_byte[only].astype(np.uint8)
        self._next = following[np.arange(len(following)), only]

    def after(self, state: int) -> bytes:
        """All bytes that must follow ``state`` before there is a choice or the text may end.

        It comes to an end: from every state of a minimal automaton a final one can be reached.
        """
        found = bytearray()
        index = state - _core.INITIAL
        while index >= 0 and self._forced[index]:
            found.append(self._byte[index])
            index = int(self._next[index])
        return bytes(found)
