"""Bytes as people read them: whole characters, sets of characters and their names."""

from fastmask.characters.naming import either, label, words
from fastmask.characters.ranges import Ranges
from fastmask.characters.reading import Characters
from fastmask.characters.visible import quoted, visible

__all__ = ["Characters", "Ranges", "either", "label", "quoted", "visible", "words"]
