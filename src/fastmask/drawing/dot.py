"""A folded automaton as Graphviz DOT, and by Graphviz as SVG."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from fastmask.characters import label
from fastmask.constraint import Constraint
from fastmask.drawing.folding import Edge, Part, folded
from fastmask.errors import MissingProgramError

if TYPE_CHECKING:
    from graphviz import Digraph

__all__ = ["dot", "svg"]

_LONGEST = 44  # characters of an edge's label; the whole of it is the edge's tooltip
_INK, _CLASS, _FAINT = "#1a1a1a", "#0062a3", "#767676"  # text, sets of characters, what is left out
_CAPTION = "double circle: the text may end here   ␣: a space   blue: characters to choose from   ?: or none of them"

_GRAPH = {
    "rankdir": "LR",
    "ranksep": "0.7",
    "bgcolor": "white",
    "label": _CAPTION,
    "fontname": "Helvetica",
    "fontsize": "10",
    "fontcolor": _FAINT,
}
_NODE = {
    "fontname": "Helvetica",
    "fontsize": "10",
    "fontcolor": _FAINT,
    "color": _INK,
    "margin": "0.04",
    "height": "0.4",
}
_EDGE = {"fontname": "Courier", "fontsize": "12", "fontcolor": _INK, "color": _INK, "arrowsize": "0.7"}


def dot(con: Constraint, max_nodes: int = 60) -> str:
    """The automaton of a constraint as Graphviz DOT: its states by number, its edges by what the text goes on with.

    Args:
        max_nodes: how many states are drawn at most; the nodes "… 12 more states" come on top.

    Raises:
        InputError: ``max_nodes`` is below 1, or the constraint was made by ``from_index``, which knows no bytes.
    """
    source: str = _drawn(con, max_nodes).source
    return source


def svg(con: Constraint, max_nodes: int = 60) -> str:
    """The same as SVG, which takes Graphviz's program ``dot``.

    Raises:
        MissingProgramError: there is no ``dot`` on the PATH.
        InputError: as for :func:`dot`.
    """
    from graphviz import ExecutableNotFound

    try:
        image: str = _drawn(con, max_nodes).pipe(format="svg", encoding="utf-8")
    except ExecutableNotFound as error:
        raise MissingProgramError(
            "an SVG is drawn by Graphviz's program dot, which is not on the PATH: install graphviz, or take the DOT"
            " text and draw it elsewhere"
        ) from error
    return image


def _drawn(con: Constraint, max_nodes: int) -> Digraph:
    from graphviz import Digraph

    graph = Digraph("automaton", graph_attr=_GRAPH, node_attr=_NODE, edge_attr=_EDGE)
    found = folded(con, max_nodes)
    graph.node("begin", shape="point", width="0.08")
    graph.edge("begin", str(con.initial_state))
    for state, final in found.states.items():
        graph.node(str(state), shape="doublecircle" if final else "circle")
    for ends, edges in _by_ends(found.edges).items():
        graph.edge(*map(str, ends), **_labels(edges))
    for state, count in found.left_out.items():
        text = f"… {count:,} more state{'s' * (count != 1)}"
        graph.node(f"behind {state}", text, shape="plaintext", fontcolor=_FAINT)
    for edge in found.cut:
        graph.edge(str(edge.source), f"behind {edge.target}", style="dashed", color=_FAINT, **_labels([edge]))
    return graph


def _by_ends(edges: list[Edge]) -> dict[tuple[int, int], list[Edge]]:
    grouped = defaultdict[tuple[int, int], list[Edge]](list)
    for edge in edges:
        grouped[edge.source, edge.target].append(edge)
    return grouped


def _labels(edges: list[Edge]) -> dict[str, str]:
    """What stands on a line, one row for each of its edges, and the whole of it for the pointer that rests there."""
    from graphviz import escape as literally

    rows = [_texts(edge.parts) for edge in sorted(edges)]
    whole = literally("\n".join("".join(text for text, _ in row) for row in rows))
    return {"label": f"<{'<BR/>'.join(map(_cut, rows))}>", "tooltip": whole, "labeltooltip": whole}


def _texts(parts: tuple[Part, ...]) -> list[tuple[str, bool]]:
    """How the parts of an edge are written, and which of them leave a choice."""
    return [_text(part, len(list(same)), len(parts) == 1) for part, same in groupby(parts)]


def _text(part: Part, count: int, alone: bool) -> tuple[str, bool]:
    name = label(part.ranges)
    if not _is_one(part) and not alone:
        name = f"[{name}]"
    if part.optional:
        return f"{name}?" * count, True
    if _is_one(part) or count == 1:
        return name * count, not _is_one(part)
    return f"{name}{{{count}}}", True


def _is_one(part: Part) -> bool:
    return len(part.ranges) == 1 and part.ranges[0][0] == part.ranges[0][1]


def _cut(texts: list[tuple[str, bool]]) -> str:
    """An HTML-like label: choices in a colour of their own, and only as much as can be read."""
    shown, room = "", _LONGEST
    for text, choice in texts:
        part = escape(text if len(text) <= room else text[:room] + "…")
        part = part.replace("]", "&#93;")  # dot stumbles over a bare one
        shown += f'<FONT COLOR="{_CLASS}">{part}</FONT>' if choice else part
        room -= len(text)
        if room < 0:
            break
    return shown
