"""One text while it grows: its state, reading each token once."""

from __future__ import annotations

from collections.abc import Sequence

from fastmask.constraint import Constraint

__all__ = ["Progress"]


class Progress:
    """The state of a text that somebody else keeps and lets grow.

    Only a count and the last token read are remembered beside the state. Where they do not agree with the tokens
    (some were taken back, or several came at once) the text is replayed from its beginning. A change before the last
    token read would go unnoticed: texts gain and lose tokens at their end alone.
    """

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint
        self._read = 0
        self._last = -1
        self._state = constraint.initial_state

    def state(self, tokens: Sequence[int]) -> int:
        """The state after these tokens, of which the first is the first constrained one.

        Raises:
            TokenRangeError: a token id outside the vocabulary.
        """
        new = len(tokens) - self._read
        if not self._continued_by(tokens) or new > 1:
            self._state = self._replayed(tokens)
        elif new == 1:
            self._state = self.constraint.advance(self._state, tokens[-1])
        self._read, self._last = len(tokens), tokens[-1] if tokens else -1
        return self._state

    def _continued_by(self, tokens: Sequence[int]) -> bool:
        return self._read == 0 or (self._read <= len(tokens) and tokens[self._read - 1] == self._last)

    def _replayed(self, tokens: Sequence[int]) -> int:
        return int(self.constraint.walk([tokens])[0, -1]) if tokens else self.constraint.initial_state
