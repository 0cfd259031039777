"""The command ``fastmask``."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape

from fastmask.cli.corpus import annotate, check
from fastmask.cli.inspect import inspect
from fastmask.cli.report import report
from fastmask.errors import FastmaskError

__all__ = ["app", "main"]

app = typer.Typer(add_completion=True, no_args_is_help=True, help="Which tokens keep the text within a schema.")
for command in (inspect, check, annotate, report):
    app.command()(command)


def main() -> None:
    """The entry point: a user's mistake ends in one line and exit code 2, never in a traceback."""
    try:
        app()
    except FastmaskError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(2) from None
