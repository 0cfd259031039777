"""What a command says on stdout: text for people, one JSON object for programs, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

__all__ = ["near", "tell"]


def tell(facts: Mapping[str, Any], show: Callable[[], None], as_json: bool, quiet: bool) -> None:
    """The facts as one line of JSON (in ASCII, which every encoding of a terminal has), or what ``show`` prints."""
    if as_json:
        typer.echo(json.dumps(facts))
    elif not quiet:
        show()


def near(place: object) -> str:
    """A place as a reader would name it: without the folder that they are in."""
    return str(place).removeprefix(f"{Path.cwd().as_posix()}/")
