"""Writes docs/reference/cli.md: every command, argument and option of `fastmask`, as the program itself knows them.

python tools/cli_reference.py            # rewrites the page; tests/test_docs_reference.py holds it to the program
"""

from pathlib import Path

import typer

from fastmask.cli import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# Command line

Written by `tools/cli_reference.py` from what `fastmask --help` knows. A mistake of yours ends in one line on stderr and
exit code 2; all exit codes and the objects of `--json`: [in scripts](#in-scripts).
"""
BY_HAND = "## In scripts"  # from here on the page is kept as it is


def page() -> str:
    """The page's Markdown."""
    group = typer.main.get_command(app)
    kept = BY_HAND + PAGE.read_text(encoding="utf-8").partition(BY_HAND)[2]
    return "\n".join([HEAD, *(_section(name, command) for name, command in group.commands.items()), kept])


def _section(name: str, command: typer.core.TyperCommand) -> str:
    paragraphs = (command.help or "").split("\n\n")
    text = "\n\n".join(" ".join(_as_code(paragraph).split()) for paragraph in paragraphs)
    rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
    return "\n".join([f"## fastmask {name}\n", f"{text}\n", "| | what | default |", "|---|---|---|", *rows, ""])


def _as_code(paragraph: str) -> str:
    """An example's command as code."""
    before, example, line = paragraph.strip().partition("Example: ")
    return f"{before}{example}`{' '.join(line.split())}`" if example else paragraph


def _row(parameter: typer.core.TyperOption | typer.core.TyperArgument) -> str:
    is_option = parameter.param_type_name == "option"
    names = [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.name.upper()]
    default = "required" if parameter.required else _default(parameter.default)
    what = (parameter.help or "").replace("|", "\\|")
    return f"| {', '.join(f'`{name}`' for name in names)} | {what} | {default} |"


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    is_plain = isinstance(value, (str, int, float)) and value != ""
    return f"`{value}`" if is_plain else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
