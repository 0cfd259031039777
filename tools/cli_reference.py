"""Writes docs/reference/cli.md: every command, argument and option of `fastmask`, as the program itself knows them.

python tools/cli_reference.py            # rewrites the page; tests/test_docs.py holds it to the program
"""

from pathlib import Path

import typer

from fastmask.cli import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# Command line

Written by `tools/cli_reference.py` from what `fastmask --help` knows. A mistake of yours ends in one line on stderr and
exit code 2; all exit codes and the objects of `--json`: [in scripts](#in-scripts).
"""
TAIL = """\
## In scripts

`fastmask inspect`, `check`, `annotate` and `report` print text for people; with `--json` one JSON object on one line of
stdout instead, and nothing else there; with `--quiet` nothing at all but errors, warnings and what `--json` asks for (no
progress, no summary). Errors and warnings go to stderr. Colours are for terminals, and not where `NO_COLOR` is set.
`fastmask --install-completion` teaches the shell commands, options and values.

| command | the object of `--json` |
|---|---|
| `inspect` | `states`, `masks`, `bytes`, `vocab_size`, `allowed_tokens_median`, `compile_ms`, `all_masks_ms`, `fingerprint`, `regex` |
| `check` | `records`, `tokens`, `verdicts` (counts), `skipped`, `respelled`, `passed`, `findings`: a list of `place`, `verdict`, `token`, `character`, `before`, `message` |
| `annotate` | of the whole corpus, in however many runs: `read`, `written`, `skipped`, `errors` (records that could not be read or judged), `tokens`, `verdicts` (counts of what was written), `shards`, `problems`: a list of [[file, record, line], message], the first 100; with `--engine ray`, `written` alone |
| `report` | `out`, `records`, `tokens`, `verdicts` (counts), `left_out` (records that are in none of these), `problems`: as those of `annotate` |

| exit code | |
|---|---|
| 0 | done; of `check`: every record is complete |
| 1 | of `check`: a record is broken, cut off or cannot be judged; of any: whoever read the output stopped reading |
| 2 | a mistake, a corpus without a record, or a file, a schema, a tokenizer that cannot be had; of `report`: no record could be judged. One message on stderr says which, and nothing is on stdout |
| 130 | stopped by Ctrl-C; `annotate` goes on where it was when it is started again |
"""


def page() -> str:
    """The page's Markdown."""
    group = typer.main.get_command(app)
    return "\n".join([HEAD, *(_section(name, command) for name, command in group.commands.items()), TAIL])


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
