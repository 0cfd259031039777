"""The command ``fastmask``."""

from __future__ import annotations

import sys
import warnings
from io import TextIOWrapper
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import fastmask
from fastmask.cli.corpus import annotate, check
from fastmask.cli.inspect import inspect
from fastmask.cli.report import report
from fastmask.cli.wording import as_options
from fastmask.errors import FastmaskError

__all__ = ["app", "main"]

EXIT_CODES = (
    "Exit codes: 0 done; 1 (check) a record is broken, cut off or cannot be judged; 2 a mistake, told on stderr;"
    " 130 stopped by Ctrl-C."
)

app = typer.Typer(no_args_is_help=True, epilog=EXIT_CODES, pretty_exceptions_enable=False)
for command in (inspect, check, annotate, report):
    app.command(epilog=EXIT_CODES)(command)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(fastmask.__version__)
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", help="show the version and exit", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Which tokens keep the text within a schema.

    Example: fastmask check answers.jsonl --schema person.schema.json --tokenizer gpt2 --answer reply
    """


def main() -> None:
    """Run the command: a user's mistake ends in a message on stderr and exit code 2, never in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what its encoding lacks is escaped, and ends nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: _say("[bold yellow]warning:[/]", message)  # not our line of code
            app(prog_name="fastmask")  # the name that completion is installed for, however it was started
    except (FastmaskError, OSError, ModuleNotFoundError) as error:
        _say("[bold red]error:[/]", error)
        raise SystemExit(2) from None


def _say(kind: str, message: object) -> None:
    Console(stderr=True).print(f"{kind} {escape(as_options(str(message)))}", highlight=False, soft_wrap=True)
