"""What a page of Markdown shows: its blocks of code, its commands with what they say, its tables."""

import re
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?"
    r'^```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A block of code, between its fences."""

    kind: str
    """python, console, text, json, …; text behind python is what it prints."""
    title: str | None
    """The file that it is."""
    text: str
    reason: str | None
    """Why it cannot be run here."""
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["kind"], found["title"], found["text"], found["reason"], text.count("\n", 0, found.start("text")))
        for found in _BLOCK.finditer(text)
    ]


def texts(kind: str, page: Path) -> list[str]:
    """The blocks of a kind, in order."""
    return [block.text for block in blocks(page) if block.kind == kind]


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """What stands behind each ``$``, and the lines that it is shown to say."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(texts("console", page)).splitlines():
        if line.startswith("$ "):
            found.append((line[2:].partition("  # ")[0].strip(), []))
        else:
            found[-1][1].append(line)
    return found


def table(heading: str, page: Path) -> str:
    """The Markdown table that begins with this heading, such as ``| model |``, line by line."""
    text = page.read_text(encoding="utf-8")
    return re.search(rf"^{re.escape(heading)}.*\n(?:\|.*\n)+", text, re.MULTILINE)[0]
