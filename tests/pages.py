"""The project's papers as a reader runs them: their blocks, one after the other, in one folder and one namespace."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.pages import blocks

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_TOKENS = re.compile(r"(tokens?\W+)\d+\W*")  # how many they are is the tokenizer's business: another one stands in
_ELSEWHERE = {"pip", "make", "git"}  # commands that install, build or fetch


def run(page: Path) -> int:
    """Run a page in the working folder; the number of outputs that were compared."""
    namespace: dict[str, object] = {"__name__": page.stem}
    printed, compared, given = None, 0, False  # given: are there files that commands can read?
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}, line {block.line}"
        if block.title:
            given = bool(Path(block.title).write_text(block.text, encoding="utf-8"))
        elif block.kind == "python":
            code = compile("\n" * block.line + block.text, where, "exec", dont_inherit=True)
            printed = None if block.reason else _printed(lambda code=code: exec(code, namespace))
        elif block.kind == "text":
            assert printed is not None, f"{where}: the output of nothing"
            assert printed.rstrip() == block.text.rstrip(), f"{where}: what is printed is\n{printed}"
            printed, compared = None, compared + 1
        elif block.kind == "console":
            compared += sum(_type(*typed, where, given) for typed in _commands(block.text))
    return compared


def _printed(call) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        call()
    return out.getvalue()


def _commands(text: str) -> Iterator[tuple[list[str], str]]:
    """The words of each command, and what it prints as far as the page shows it."""
    for entry in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = entry.partition("\n")
        yield shlex.split(command, comments=True), output


def _type(command: list[str], output: str, where: str, given: bool) -> bool:
    """Run the command, or see at least that it could be run; was its output compared?"""
    if command[0] in _ELSEWHERE:
        return False
    if command[0] == "fastmask" and given:
        said = _fastmask(command[1:], where)
        assert _comparable(output) in _comparable(said), f"{where}: {said}"
        return bool(output)
    if command[0] == "fastmask":
        _understood("fastmask.cli", command[1:], where)
    elif "-m" in command:
        module, *arguments = command[command.index("-m") + 1 :]
        _understood(module, arguments, where)
    else:
        assert command[0] == "torchrun", f"{where}: nobody knows whether {command[0]} would work"
    return False


def _fastmask(arguments: list[str], where: str) -> str:
    from fastmask.cli import main

    expanded = [each for word in arguments for each in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    before, sys.argv = sys.argv, ["fastmask", *expanded]
    code: object = 0
    try:
        with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()) as out:
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
    finally:
        sys.argv = before
    assert code in (0, 1), f"{where}: {errors.getvalue()}"
    return out.getvalue()


def _comparable(said: str) -> str:
    """Without the folder, the numbers of tokens, and the widths of tables."""
    relative = said.replace(f"{Path.cwd()}/", "")
    lines = [re.sub(r"[─┌┐└┘│ ]+", " ", _TOKENS.sub(r"\1", line)).strip() for line in relative.splitlines()]
    return "\n".join(lines)


def _understood(module: str, arguments: list[str], where: str) -> None:
    """Does the program have these options?"""
    import typer

    found = importlib.import_module(module)
    app = getattr(found, "app", None)
    if app is None and hasattr(found, "main"):
        app = typer.Typer()
        app.command()(found.main)
    assert app is not None, f"{where}: {module} is no program"
    command = typer.main.get_command(app)
    if hasattr(command, "commands"):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    asked = {word for word in arguments if word.startswith("--")}
    assert asked <= known, f"{where}: {module} has no {', '.join(sorted(asked - known))}"
