"""Writes the tables on the pages of docs/reference: each name, its arguments and what it is, as the source has them.

python -m tools.reference                # rewrites the tables; tests/test_docs_reference.py holds them to the code

The pages are directives, which the site replaces by whole docstrings and a forge shows as they stand. So each page
begins with such a table, for those who read it in a clone.
"""

import ast
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

from tools.public_api import ROLE, Definition, definition, docstring, members, split

PAGES = Path(__file__).resolve().parent.parent / "docs" / "reference"
PART = re.compile(r"(?<=^<!-- tools/reference.py writes this -->\n).*?(?=^<!-- end -->$)", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"^::: ([\w.]+)\n((?: +.*\n)*)", re.MULTILINE)
CODE = re.compile(r"``(.+?)``")


def written(page: str) -> str:
    """The page with its table as it ought to be."""
    rows = [row for path, options in DIRECTIVE.findall(page) for row in _rows(path, options)]
    names = [name for name, _, _ in rows]
    room = _common(names)
    lines = [f"| [`{name.removeprefix(room)}`](#{name}){arguments} | {what} |" for name, arguments, what in rows]
    head = (
        "In short; every argument, shape and error is told below on the site that `make docs` builds, and in Python:\n"
        f"`help({names[0]})`.\n"
    )
    return PART.sub(lambda _: "\n".join(["", head, "| | |", "|---|---|", *lines, "", ""]), page)


def _common(names: list[str]) -> str:
    """The module that all names are in, with its dot."""
    rooms = [split(name)[0].split(".") for name in names]
    shared = [parts[0] for parts in zip(*rooms, strict=False) if len(set(parts)) == 1]
    return ".".join(shared) + "."


def _rows(path: str, options: str) -> Iterator[tuple[str, str, str]]:
    """The full name, the arguments as code and the summary of a directive's object, then of its members."""
    module, name = split(path)
    if not name:
        return  # a module's own docstring
    where, node = definition(module, name)
    has_init = "merge_init_into_class: false" not in options
    yield path, _arguments(where, node, has_init), _summary(docstring(where, node))
    if not isinstance(node, ast.ClassDef):
        return
    for member, method in members(where, node).items():
        if _is_told(member, options) and ast.get_docstring(method):
            yield f"{path}.{member}", _signature(method), _summary(ast.get_docstring(method) or "")


def _is_told(member: str, options: str) -> bool:
    """By the filters of the directive, or else by those of mkdocs.yml."""
    own = re.search(r"filters: (\[.*\])", options)
    patterns = ast.literal_eval(own[1]) if own else ["!^_(?!_call__)"]
    return not any(re.search(pattern.removeprefix("!"), member) for pattern in patterns)


def _arguments(module: str, node: Definition, has_init: bool) -> str:
    if isinstance(node, ast.FunctionDef):
        return _signature(node)
    if isinstance(node, ast.AnnAssign) or not has_init:
        return ""
    init = members(module, node).get("__init__")
    if init:
        return _signature(init)
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    given = [ast.unparse(f.target) + (f"={ast.unparse(f.value)}" if f.value else "") for f in fields]
    if given:
        return f"`({', '.join(given)})`"
    return f"`({', '.join(map(ast.unparse, node.bases))})`" if node.bases else ""


def _signature(function: ast.FunctionDef) -> str:
    """Arguments and defaults, without types, which would fill the page. A property has none."""
    decorators = set(map(ast.unparse, function.decorator_list))
    if decorators & {"property", "cached_property"}:
        return ""
    return f"`({_without_types(function.args)})`"


def _without_types(arguments: ast.arguments) -> str:
    copied = ast.parse(f"def f({ast.unparse(arguments)}): pass").body[0].args
    every = [*copied.posonlyargs, *copied.args, *copied.kwonlyargs, copied.vararg, copied.kwarg]
    for argument in filter(None, every):
        argument.annotation = None
    return re.sub(r"^(?:self|cls)(?:, |$)", "", ast.unparse(copied))


def _summary(text: str) -> str:
    """The first paragraph, as Markdown."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return CODE.sub(_code, ROLE.sub(r"``\1``", paragraph))


def _code(found: re.Match[str]) -> str:
    """A bar would end the table's cell, and whether it may be escaped within code depends on who renders it."""
    code = found[1]
    return f"<code>{escape(code).replace('|', '&#124;')}</code>" if "|" in code else f"`{code}`"


if __name__ == "__main__":
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if PART.search(text):
            page.write_text(written(text), encoding="utf-8")
