"""All transitions of a constraint as one table, for devices that cannot run through bytes.

Tokens that lead every state to the same state share a column, so the table is small: the vocabulary counts only in
``class_of`` and in the masks that are asked for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastmask import _core

__all__ = ["MAX_TABLE_BYTES", "Transitions"]

MAX_TABLE_BYTES = 1 << 30  # that all transitions may take, unless told otherwise


class Transitions:
    """``next[state, class_of[token]]`` is the state after ``token`` in ``state``, for every state and token.

    Immutable: any number of threads may read it.
    """

    class_of: npt.NDArray[np.int32]
    """[V]: the class of each token. Class 0 never keeps a text alive: it leads to DEAD, from FREE to FREE."""
    next: npt.NDArray[np.int32]
    """[num_states, num_classes]"""

    def __init__(self, engine: _core.Engine, max_bytes: int) -> None:
        """The table of an engine's automaton.

        Raises:
            CompileLimitError: it would take more than ``max_bytes``.
        """
        self.class_of, self.next = engine.token_classes(min(max_bytes, 2**63 - 1))
        for array in (self.class_of, self.next):
            array.flags.writeable = False

    @property
    def num_classes(self) -> int:
        """Classes of tokens, class 0 included."""
        return int(self.next.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self.class_of.nbytes + self.next.nbytes
