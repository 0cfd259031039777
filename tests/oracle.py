"""What the engine must say, worked out slowly in plain Python.

Shares no code with fastmask and does not import it. Two automata stand behind the oracle: `Pattern`, which takes
derivatives of what Python's own regex parser read, and `ByteIndex`, outlines-core's Index over single bytes.
`Walker` steps either of them through tokens by the letter of the contract; `TokenIndex` is outlines-core's own
token-level answer in the same form, for comparing state by state.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

try:
    from re import _constants as sre
    from re import _parser as sre_parser
except ImportError:  # Python 3.10
    import sre_constants as sre
    import sre_parse as sre_parser

FREE, DONE, DEAD = "free", "done", "dead"  # the named states; a text's own state is any other hashable value
ALPHABET_EOS = 256


# ---- a regular expression by partial derivatives (V. Antimirov, 1996) -----------------------------------------
# A language is a tuple; its parts are languages in their turn, each written as its number in LANGUAGES, because
# hashing a tuple hashes all that it holds. The state of an automaton is the set of the languages of which one must
# match the rest.

Ranges = tuple[tuple[int, int], ...]  # of numbers, ends included; ascending, apart
SURROGATES = (0xD800, 0xDFFF)
LANGUAGES: list[tuple] = []
NUMBERS: dict[tuple, int] = {}


class Pattern:
    """A regular expression, matched as a whole on UTF-8 bytes. States are frozensets of languages."""

    def __init__(self, pattern: str) -> None:
        self.initial = frozenset([_sequence(sre_parser.parse(pattern))])

    @staticmethod
    def step(state: frozenset[int], byte: int) -> frozenset[int] | None:
        return _step(state, byte)

    @staticmethod
    def is_final(state: frozenset[int]) -> bool:
        return any(map(_nullable, state))


@cache
def _step(state: frozenset[int], byte: int) -> frozenset[int] | None:
    return frozenset().union(*(_derivatives(language, byte) for language in state)) or None


def _number(*language: Any) -> int:
    if language not in NUMBERS:
        NUMBERS[language] = len(LANGUAGES)
        LANGUAGES.append(language)
    return NUMBERS[language]


EMPTY = _number("empty")


def _sequence(parsed: Any) -> int:
    """What Python's parser returns → one language."""
    result = EMPTY
    for operator, argument in reversed(list(parsed)):
        result = _then(_item(operator, argument), result)
    return result


def _item(operator: Any, argument: Any) -> int:
    if operator is sre.LITERAL:
        return _character([(argument, argument)])
    if operator is sre.NOT_LITERAL:
        return _character(_complement([(argument, argument)]))
    if operator is sre.ANY:
        return _character(_complement([(10, 10)]))
    if operator is sre.IN:
        return _character(_class(argument))
    if operator is sre.BRANCH:
        return _number("or", *map(_sequence, argument[1]))
    if operator is sre.SUBPATTERN:
        return _sequence(argument[-1])
    if operator in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        low, high, body = argument
        return _number("repeat", _sequence(body), low, None if high is sre.MAXREPEAT else high)
    raise NotImplementedError(f"the oracle does not know {operator}")


def _class(items: Sequence[tuple]) -> list[tuple[int, int]]:
    negated = items[0][0] is sre.NEGATE
    ranges = []
    for operator, argument in items[negated:]:
        if operator not in (sre.LITERAL, sre.RANGE):
            raise NotImplementedError(f"the oracle does not know {operator} in a class")
        ranges.append((argument, argument) if operator is sre.LITERAL else argument)
    return _complement(ranges) if negated else ranges


def _complement(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    result, begin = [], 0
    for low, high in sorted(ranges):
        if begin < low:
            result.append((begin, low - 1))
        begin = max(begin, high + 1)
    return [*result, (begin, sys.maxunicode)] if begin <= sys.maxunicode else result


def _character(ranges: Iterable[tuple[int, int]]) -> int:
    """One character out of ranges of code points; surrogates are none."""
    return _number("character", tuple(_complement([*_complement(ranges), SURROGATES])))


def _then(first: int, second: int) -> int:
    return second if first == EMPTY else first if second == EMPTY else _number("then", first, second)


@cache
def _nullable(language: int) -> bool:
    kind, *parts = LANGUAGES[language]
    if kind == "then":
        return all(map(_nullable, parts))
    if kind == "or":
        return any(map(_nullable, parts))
    if kind == "repeat":
        return parts[1] == 0 or _nullable(parts[0])
    return kind == "empty"


@cache
def _derivatives(language: int, byte: int) -> frozenset[int]:
    """The languages of which one must match what follows `byte`."""
    kind, *parts = LANGUAGES[language]
    if kind == "character":
        return _first_byte(*parts, byte)
    if kind == "tail":
        return _next_byte(*parts, byte)
    if kind == "then":
        first, second = parts
        moved = frozenset(_then(rest, second) for rest in _derivatives(first, byte))
        return moved | _derivatives(second, byte) if _nullable(first) else moved
    if kind == "or":
        return frozenset().union(*(_derivatives(branch, byte) for branch in parts))
    if kind == "repeat":
        body, low, high = parts
        if high == 0:
            return frozenset()
        again = _number("repeat", body, max(low - 1, 0), None if high is None else high - 1)
        return frozenset(_then(rest, again) for rest in _derivatives(body, byte))
    return frozenset()


def _first_byte(ranges: Ranges, byte: int) -> frozenset[int]:
    if byte < 0x80:
        return frozenset([EMPTY]) if _clip(ranges, byte, byte) else frozenset()
    for lead, payload, missing, lowest in ((0xC0, 0x1F, 1, 0x80), (0xE0, 0x0F, 2, 0x800), (0xF0, 0x07, 3, 0x10000)):
        if byte & ~payload == lead:
            begin = (byte & payload) << 6 * missing
            # Code points below `lowest` have a shorter encoding, which is the only one.
            return _tail(_clip(ranges, max(begin, lowest), begin + (1 << 6 * missing) - 1), begin, missing)
    return frozenset()


def _next_byte(missing: int, ranges: Ranges, byte: int) -> frozenset[int]:
    if byte & 0xC0 != 0x80:
        return frozenset()
    begin = (byte & 0x3F) << 6 * (missing - 1)
    return _tail(_clip(ranges, begin, begin + (1 << 6 * (missing - 1)) - 1), begin, missing - 1)


def _clip(ranges: Ranges, low: int, high: int) -> Ranges:
    return tuple((max(a, low), min(b, high)) for a, b in ranges if max(a, low) <= min(b, high))


def _tail(ranges: Ranges, begin: int, missing: int) -> frozenset[int]:
    """What is left of a character: `missing` bytes that spell one of `ranges`, counted from `begin`."""
    if not ranges or not missing:
        return frozenset([EMPTY] if ranges else [])
    return frozenset([_number("tail", missing, tuple((low - begin, high - begin) for low, high in ranges))])


# ---- outlines-core's automata -----------------------------------------------------------------------------------


class ByteIndex:
    """outlines-core's Index over the alphabet of single bytes: its byte-level automaton."""

    def __init__(self, regex: str) -> None:
        from outlines_core import Index, Vocabulary

        index = Index(regex, Vocabulary(ALPHABET_EOS, {bytes([byte]): [byte] for byte in range(256)}))
        self._transitions, self._finals = index.get_transitions(), index.get_final_states()
        self.initial = index.get_initial_state()

    def step(self, state: int, byte: int) -> int | None:
        return self._transitions.get(state, {}).get(byte)

    def is_final(self, state: int) -> bool:
        return state in self._finals


class TokenIndex:
    """An outlines-core Index as it answers for itself; the surface that `Walker` has too."""

    def __init__(self, index: Any, eos: int) -> None:
        self._transitions, self._finals, self._eos = index.get_transitions(), index.get_final_states(), eos
        self.initial = index.get_initial_state()

    def moves(self, state: int) -> dict[int, int]:
        row = dict(self._transitions.get(state, {}))
        row.pop(self._eos, None)
        return row

    def is_final(self, state: int) -> bool:
        return state in self._finals


# ---- the contract, by its letter --------------------------------------------------------------------------------


class Walker:
    """A byte automaton and a list of tokens, one token and one byte at a time."""

    def __init__(self, automaton: Any, tokens: Sequence[bytes | None], eos: Iterable[int], size: int | None = None):
        self._automaton, self._tokens, self.eos = automaton, tokens, frozenset(eos)
        self.size = len(tokens) if size is None else size
        self.initial = automaton.initial

    def token(self, token_id: int) -> bytes | None:
        """The bytes that a token stands for; None = never text."""
        return self._tokens[token_id] if token_id < len(self._tokens) and token_id not in self.eos else None

    def is_final(self, state: Hashable) -> bool:
        return state == DONE or (state not in (FREE, DEAD) and self._automaton.is_final(state))

    def advance(self, state: Hashable, token_id: int) -> Hashable:
        if state in (FREE, DEAD):
            return state
        if token_id in self.eos:
            return DONE if self.is_final(state) else DEAD
        token = self.token(token_id)
        if token is None or state == DONE:
            return DEAD
        for byte in token:
            state = self._automaton.step(state, byte)
            if state is None:
                return DEAD
        return state

    def moves(self, state: Hashable) -> dict[int, Hashable]:
        """Text tokens that may come, and where each leads; EOS is not among them."""
        reached = {token_id: self.advance(state, token_id) for token_id in range(self.size) if token_id not in self.eos}
        return {token_id: target for token_id, target in reached.items() if target != DEAD}

    def allowed(self, state: Hashable) -> set[int]:
        if state == FREE:
            return set(range(self.size))
        may_come = set() if state in (DONE, DEAD) else set(self.moves(state))
        return may_come | self.eos if self.is_final(state) or not may_come else may_come

    def walk(self, row: Sequence[int], start: int | None) -> list[Hashable]:
        """The state after each token; `start` None: the row is wholly unconstrained."""
        states = []
        for position, token_id in enumerate(row):
            if start is None or position < start - 1:
                states.append(FREE)
            elif position == start - 1:
                states.append(self.initial)
            else:
                states.append(
                    self.advance(states[-1] if position > 0 and position != start else self.initial, token_id)
                )
        return states


class Verdict(NamedTuple):
    """What `Constraint.check` must find."""

    first_error: int
    complete: bool


def check(walker: Walker, row: Sequence[int], start: int | None) -> Verdict:
    states = walker.walk(row, start)
    last = states[-1] if states else FREE if start is None else walker.initial
    return Verdict(states.index(DEAD) if DEAD in states else -1, walker.is_final(last))


def start_after(row: Sequence[int], token_id: int) -> int | None:
    """What `fm.after(token_id)` means for one row."""
    return list(row).index(token_id) + 1 if token_id in row else None


def has_match_delay(automaton: Any) -> bool:
    """Does a byte lead from a state where the text may end to one where it may not?

    outlines-core 0.2.14 drops just these transitions: its DFA reports a match one byte late.
    """
    seen, frontier = {automaton.initial}, [automaton.initial]
    for state in frontier:  # grows while it is read
        for byte in range(256):
            target = automaton.step(state, byte)
            if target is None:
                continue
            if automaton.is_final(state) and not automaton.is_final(target):
                return True
            if target not in seen:
                seen.add(target)
                frontier.append(target)
    return False
