"""The library's messages in the words of the command line: what ``format=`` is in Python is ``--format`` here."""

from __future__ import annotations

import re

from fastmask.corpus.records import Problem

__all__ = ["as_options", "in_options"]

_SWITCHES = {"strict"}
_OPTIONS = {"format", "max_length", "on_error", "sample", "size", *_SWITCHES}  # under their own names
_ONLY_IN_PYTHON = {"eos_token_id", "max_bytes", "max_seconds", "max_states"}

_TEXT_COLUMN = re.compile(r"\bcolumns=\{(?P<column>'[^']*'|\"[^\"]*\"): pa\.string\(\)\}")
# Not within a path such as format=a/size=b/0.jsonl, which is nobody's argument.
_ARGUMENT = re.compile(rf"(?<![\w/.-])(?P<name>{'|'.join(_OPTIONS)})=(?P<value>'[^']*'|[\w,]*\w|)(?![\w/=])")
_PARAMETER = re.compile(rf"(?<![\w/.-])(?:{'|'.join(_ONLY_IN_PYTHON)})\b(?:=…)?")


def as_options(message: str) -> str:
    """The message with the options in place of the arguments that a caller from Python would give."""
    message = _TEXT_COLUMN.sub(r"--as-text \g<column>", message)
    message = _ARGUMENT.sub(_option, message)
    return _PARAMETER.sub(r"\g<0> (in Python)", message)


def in_options(problem: Problem) -> Problem:
    """The same of what is wrong with a record."""
    return problem._replace(message=as_options(problem.message))


def _option(argument: re.Match[str]) -> str:
    name, value = argument["name"], argument["value"]
    if name in _SWITCHES:
        return f"--{'no-' if value == 'False' else ''}{name}"
    return f"--{name.replace('_', '-')}{f' {value}' if value else ''}"
