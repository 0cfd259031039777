"""How many tokens each state of a constraint is away from the end, and which tokens leave room for the rest."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from fastmask import _core

__all__ = ["Distances"]

_NO_WAY = -1


class Distances:
    """The fewest tokens from each state to one where the text may end.

    Immutable: any number of threads may read it.
    """

    to_end: npt.NDArray[np.int32]
    """[num_states]: 0 for FREE and DONE, too; EOS is not counted; -1: there is no way."""

    def __init__(self, engine: _core.Engine) -> None:
        self._engine = engine
        self.to_end = engine.distances()
        self.to_end.flags.writeable = False

    @cached_property
    def farthest(self) -> int:
        """The most tokens that a state of the text is away from the end; -1: from some there is no way."""
        of_text = self.to_end[_core.INITIAL :]
        return _NO_WAY if (of_text == _NO_WAY).any() else int(of_text.max())

    @property
    def nbytes(self) -> int:
        """Bytes of ``to_end``."""
        return self.to_end.nbytes

    def within(self, states: npt.NDArray[np.int32], limits: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """bool [N, V] for states [N] and limits [N]: tokens after which the text may end ``limits[i]`` tokens later.

        A row may be empty, unlike a mask's: EOS is among the tokens only where it leads to DONE.
        """
        # Rows that are in one string of any length are in one state, and a row costs up to milliseconds.
        asked, row_of = np.unique(np.stack([states, limits], axis=1), axis=0, return_inverse=True)
        rows = self._engine.within(self.to_end, asked[:, 0].astype(np.int32), np.ascontiguousarray(asked[:, 1]))
        return rows[row_of.reshape(-1)]
