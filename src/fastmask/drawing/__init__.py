"""Drawings of a constraint's automaton."""

from fastmask.drawing.dot import dot, svg
from fastmask.drawing.folding import folded

__all__ = ["dot", "folded", "svg"]
