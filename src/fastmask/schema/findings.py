"""What is wrong with one part of a schema, and how a message lists it."""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Finding", "Path", "finding", "listing"]

Path = tuple[str | int, ...]  # keys and list positions, from the root of the schema

_LISTED = 5  # of a schema's faults; a message is no report


class Finding(NamedTuple):
    """One keyword that the translation would not enforce, or gives up for."""

    pointer: str
    """RFC 6901 JSON pointer to the keyword; of an empty schema and of a whole one, to itself."""
    effect: str
    """What would have happened, a sentence."""


def finding(path: Path, effect: str) -> Finding:
    """The finding about the keyword at ``path``."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return Finding("".join("/" + step for step in steps), effect)


def listing(findings: Sequence[Finding]) -> str:
    """A line for each of the first few."""
    lines = [f"  {finding.pointer or '/'}: {finding.effect}" for finding in findings[:_LISTED]]
    if len(findings) > _LISTED:
        lines.append(f"  … and {len(findings) - _LISTED} more")
    return "\n".join(lines)
