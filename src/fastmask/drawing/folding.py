"""A constraint's automaton folded to what fits on a page.

States within a character disappear (:class:`fastmask.characters.Characters`), states without a choice become part of
an edge, and what is farther from the initial state than there is room for becomes a count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from fastmask.characters import Characters, Ranges
from fastmask.characters.ranges import merged
from fastmask.constraint import Constraint
from fastmask.errors import InputError
from fastmask.rows import integer

__all__ = ["Edge", "Folded", "Part", "folded"]


class Part(NamedTuple):
    """One character of an edge's text: any of a set, or none if it is optional."""

    ranges: Ranges
    optional: bool = False


class Edge(NamedTuple):
    """What leads from one state to another."""

    source: int
    target: int
    parts: tuple[Part, ...]
    within: int = 0
    """Number of states on the way."""


class Folded(NamedTuple):
    """What a drawing shows; states are numbered as in the constraint."""

    states: dict[int, bool]
    """The states that are drawn, nearest first: may the text end here?"""
    edges: list[Edge]
    """Between states that are drawn."""
    left_out: dict[int, int]
    """By the drawn state behind which they come first: how many states are not drawn."""
    cut: list[Edge]
    """By which characters drawn states lead to those left out; ``target`` is a key of ``left_out``."""


def folded(con: Constraint, max_nodes: int = 60) -> Folded:
    """The automaton of a constraint without FREE, DONE and DEAD, which all constraints have.

    Args:
        max_nodes: how many states are drawn at most, counted after folding.

    Raises:
        InputError: ``max_nodes`` is below 1, or the constraint was made by ``from_index``, which knows no bytes.
    """
    if integer(max_nodes, "max_nodes") < 1:
        raise InputError(f"max_nodes is the number of states to draw, at least 1, got {max_nodes}")
    graph = _Graph(con.characters, con.initial_state)
    graph.fold()
    return graph.cut(max_nodes)


class _Graph:
    """Edges by both their ends, while they are being folded."""

    def __init__(self, characters: Characters, initial: int) -> None:
        """All states to which whole characters lead, nearest first."""
        self._initial = initial
        self._states = {initial: characters.may_end(initial)}
        self._out: dict[int, list[Edge]] = defaultdict(list)
        self._into: dict[int, list[Edge]] = defaultdict(list)
        for state in (waiting := [initial]):
            for target, ranges in characters.following(state).items():
                if target not in self._states:
                    self._states[target] = characters.may_end(target)
                    waiting.append(target)
                self._add(Edge(state, target, (Part(ranges),)))

    def fold(self) -> None:
        """Fold until nothing more can be."""
        waiting = list(self._states)
        while waiting:
            state = waiting.pop()
            if state in self._states:
                waiting += self._join(state) or self._pass_through(state)

    def cut(self, most: int) -> Folded:
        """The ``most`` states that are nearest, and how many there are behind them."""
        kept, left_out = {self._initial: self._states[self._initial]}, Counter[int]()
        behind = {self._initial: self._initial}  # a state that is kept → itself, any other → the one it counts for
        edges, cut = [], defaultdict[tuple[int, int], list[Edge]](list)
        for state in (waiting := [self._initial]):
            for edge in self._out[state]:
                if edge.target not in behind:
                    waiting.append(edge.target)
                    if len(kept) < most:
                        kept[edge.target] = self._states[edge.target]
                    else:
                        left_out[behind[state]] += 1
                    behind[edge.target] = edge.target if edge.target in kept else behind[state]
                if state in kept and edge.target in kept:
                    edges.append(edge)
                else:
                    left_out[behind[edge.target if state in kept else state]] += edge.within
                    cut[state, behind[edge.target]].append(edge)
        begun = [Edge(*ends, (_first(found),)) for ends, found in cut.items() if ends[0] in kept]
        return Folded(kept, edges, {state: count for state, count in left_out.items() if count}, begun)

    def _join(self, source: int) -> list[int]:
        """Make one edge of two where the one is the other without its first character; the states that changed."""
        by_end = {(edge.target, edge.parts): edge for edge in self._out[source]}
        for longer in self._out[source]:
            shorter = by_end.get((longer.target, longer.parts[1:]))
            if shorter:
                self._remove(longer, shorter)
                optional = longer.parts[0]._replace(optional=True)
                within = longer.within + shorter.within
                self._add(Edge(source, longer.target, (optional, *shorter.parts), within))
                return [source, longer.target]
        return []

    def _pass_through(self, state: int) -> list[int]:
        """Make one edge of two if nothing else meets in ``state``; the states that changed."""
        if state == self._initial or self._states[state] or len(self._into[state]) != 1 or len(self._out[state]) != 1:
            return []
        (before,), (after,) = self._into[state], self._out[state]
        self._remove(before, after)
        del self._states[state]
        within = before.within + 1 + after.within
        self._add(Edge(before.source, after.target, before.parts + after.parts, within))
        return [before.source]

    def _add(self, edge: Edge) -> None:
        self._out[edge.source].append(edge)
        self._into[edge.target].append(edge)

    def _remove(self, *edges: Edge) -> None:
        for edge in edges:
            self._out[edge.source].remove(edge)
            self._into[edge.target].remove(edge)


def _first(edges: Iterable[Edge]) -> Part:
    """The characters with which edges begin."""
    found: list[tuple[int, int]] = []
    for edge in edges:
        for part in edge.parts:
            found += part.ranges
            if not part.optional:
                break
    return Part(merged(found))
