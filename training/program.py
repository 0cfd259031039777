"""How every stage becomes a program: its function's parameters are its options, its docstring is its help."""

import sys
from collections.abc import Callable

import typer

from fastmask.errors import FastmaskError


def program(stage: Callable) -> None:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(stage)
    try:
        app()
    except FastmaskError as error:  # its message says what to do; a traceback would only hide it
        sys.exit(f"error: {error}")
