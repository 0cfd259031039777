"""A byte automaton read by whole characters."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from fastmask import _core
from fastmask.characters.ranges import SURROGATES, Ranges, bridged, lone_bytes, merged

__all__ = ["Characters"]

_Moves = dict[int, list[tuple[int, int]]]  # state → the characters that lead there

# UTF-8's longer forms (The Unicode Standard, table 3-7): by lead byte, how many more bytes a character takes and the
# lowest character of that length; the rest of the lead byte's bits are the character's highest.
_MORE = {lead: 1 + (lead >= 0xE0) + (lead >= 0xF0) for lead in range(0xC2, 0xF5)}
_LOWEST = (0, 0x80, 0x800, 0x10000)
_LAST = 0x10FFFF


class Characters:
    """Which characters lead from which state to which; states are numbered as in a constraint.

    Any number of threads may share one: what it remembers is a function of the automaton.
    """

    def __init__(self, automaton: _core.Automaton) -> None:
        self._class_of, _, self._flags, table = automaton.to_arrays()
        self._next = table.reshape(len(self._flags), -1)  # [states of the text, classes], -1 = dead
        self._tails: dict[tuple[int, int], _Moves | None] = {}

    def following(self, state: int) -> dict[int, Ranges]:
        """The states one character away and the characters that lead there; none for FREE, DONE and DEAD.

        Where the bytes that may come do not make up whole characters (within one, or where a constraint lets any
        bytes pass), each byte beyond ASCII counts by itself.
        """
        if state < _core.INITIAL:
            return {}
        moves = self._by_character(state)
        if moves is None:
            moves = self._by_byte(state)
        return {target: bridged(merged(ranges)) for target, ranges in moves.items()}

    def read(self, state: int, text: bytes) -> tuple[int, int]:
        """The number of bytes of ``text`` that may come in ``state``, and the state behind them."""
        for count, byte in enumerate(text):
            following = self._step(state, byte)
            if following == _core.DEAD:
                return count, state
            state = following
        return len(text), state

    def may_end(self, state: int) -> bool:
        """May the text end here?"""
        return state == _core.DONE or (state >= _core.INITIAL and bool(self._flags[state - _core.INITIAL] & 1))

    def _step(self, state: int, byte: int) -> int:
        if state < _core.INITIAL:
            return _core.FREE if state == _core.FREE else _core.DEAD
        following = int(self._next[state - _core.INITIAL, self._class_of[byte]])
        return _core.DEAD if following < 0 else following + _core.INITIAL

    def _runs(self, state: int) -> list[tuple[int, int, int]]:
        """(first byte, last byte, state they lead to), ascending, without those that lead nowhere."""
        row = self._next[state - _core.INITIAL][self._class_of]
        begins = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), 256]
        return [(begin, end - 1, int(row[begin]) + _core.INITIAL) for begin, end in pairwise(begins) if row[begin] >= 0]

    def _by_byte(self, state: int) -> _Moves:
        moves: _Moves = {}
        for first, last, target in self._runs(state):
            found = moves.setdefault(target, [])
            if first <= 0x7F:
                found.append((first, min(last, 0x7F)))
            if last >= 0x80:
                found.append(lone_bytes(max(first, 0x80), last))
        return moves

    def _by_character(self, state: int) -> _Moves | None:
        """``None`` where some bytes do not make up whole characters."""
        moves: _Moves = {}
        for first, last, target in self._runs(state):
            if first <= 0x7F:
                moves.setdefault(target, []).append((first, min(last, 0x7F)))
            for lead in range(max(first, 0x80), last + 1):
                if lead not in _MORE or not self._add_longer(moves, lead, target):
                    return None
        return moves

    def _add_longer(self, moves: _Moves, lead: int, within: int) -> bool:
        """Add the characters that begin with ``lead``, which leads to the state ``within``; false: it is no UTF-8."""
        more = _MORE[lead]
        tails = self._tails_of(within, more)
        highest = (lead & (0x3F >> more)) << 6 * more
        for end, ranges in (tails or {}).items():
            for first, last in ranges:
                low, high = highest + first, highest + last
                if low < _LOWEST[more] or high > _LAST or (low <= SURROGATES[1] and high >= SURROGATES[0]):
                    return False
                moves.setdefault(end, []).append((low, high))
        return tails is not None

    def _tails_of(self, state: int, more: int) -> _Moves | None:
        """Where ``more`` continuation bytes lead, by the number that their 6 bits each make up."""
        if more == 0:
            return {state: [(0, 0)]}
        if (state, more) not in self._tails:
            self._tails[state, more] = self._tails_anew(state, more)
        return self._tails[state, more]

    def _tails_anew(self, state: int, more: int) -> _Moves | None:
        if self._flags[state - _core.INITIAL]:  # where the text may end or any token come, no character is half read
            return None
        moves: _Moves = {}
        for first, last, target in self._runs(state):
            tails = self._tails_of(target, more - 1)
            if first < 0x80 or last > 0xBF or tails is None:
                return None
            shifts = [(byte - 0x80) << 6 * (more - 1) for byte in range(first, last + 1)]
            for end, ranges in tails.items():
                moves.setdefault(end, []).extend((by + low, by + high) for by in shifts for low, high in ranges)
        return {end: list(merged(ranges)) for end, ranges in moves.items()}
