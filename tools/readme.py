"""What README.md shows: its blocks of code, its commands with what they say, its tables."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str, readme: Path = README) -> list[str]:
    """The fenced blocks of a language, in order."""
    text = readme.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(readme: Path = README) -> list[tuple[str, list[str]]]:
    """What stands behind each ``$``, and the lines that it is shown to say."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(blocks("console", readme)).splitlines():
        if line.startswith("$ "):
            found.append((line[2:].partition("  # ")[0].strip(), []))
        else:
            found[-1][1].append(line)
    return found


def table(heading: str, readme: Path = README) -> str:
    """The Markdown table that begins with this heading, such as ``| model |``, line by line."""
    text = readme.read_text(encoding="utf-8")
    return re.search(rf"^{re.escape(heading)}.*\n(?:\|.*\n)+", text, re.MULTILINE)[0]
