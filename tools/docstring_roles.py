"""Docstrings as the site shows them: what is written in reStructuredText's manner becomes Markdown.

An extension of griffe, named in mkdocs.yml. ``:meth:`Constraint.walk``` becomes a link where the reference has that
name, and code elsewhere; a colon doubled before an indented example becomes one.
"""

import re
from collections.abc import Iterator

import griffe

from tools.public_api import MODULES, ROLE

EXAMPLE = re.compile(r"::$", re.MULTILINE)


class DocstringRoles(griffe.Extension):
    """Rewrites every docstring of the package once it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        targets = dict(_targets(pkg))
        for thing in _everything(pkg):
            if thing.docstring:
                owner = thing if thing.is_class else thing.parent
                thing.docstring.value = _markdown(thing.docstring.value, targets, owner.name if owner else "")


def _markdown(text: str, targets: dict[str, str], owner: str) -> str:
    def link(role: re.Match[str]) -> str:
        name = role[1].removeprefix("fastmask.")
        target = targets.get(f"{owner}.{name}") or targets.get(name) or targets.get(name.rpartition(".")[2])
        return f"[`{name}`][{target}]" if target else f"`{name}`"

    return EXAMPLE.sub(":", ROLE.sub(link, text))


def _targets(pkg: griffe.Module) -> Iterator[tuple[str, str]]:
    """Public names, and those of their members, → the identifiers under which the reference has them."""
    for module in reversed(MODULES):  # so that the root's names win
        room = pkg[module.partition(".")[2]] if "." in module else pkg
        for name in map(str, room.exports or ()):
            yield name, f"{module}.{name}"
            found = room.members[name]
            thing = found.final_target if found.is_alias else found
            if thing.is_class:
                yield from ((f"{name}.{m}", f"{module}.{name}.{m}") for m in thing.all_members if _is_told(m))


def _is_told(member: str) -> bool:
    """As the filters in mkdocs.yml have it."""
    return member[0] != "_" or member == "__call__"


def _everything(thing: griffe.Object) -> Iterator[griffe.Object]:
    yield thing
    for member in thing.members.values():
        if not member.is_alias:
            yield from _everything(member)
