"""What the command line is given → schemas, vocabularies and files to write."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from fastmask.errors import InputError
from fastmask.vocabulary import Vocabulary
from fastmask.whole_file import write_whole

__all__ = ["absolute_schema", "load_schema", "load_tokenizer", "load_vocabulary", "write_text"]


def load_schema(given: str) -> Any:
    """What ``Constraint.from_schema`` takes, of a file's name, ``module:Name``, ``path/to/file.py:Name``, or a text.

    Raises:
        InputError: it is none of these, or the model cannot be imported.
    """
    if _is_text(given):
        return given
    path = Path(given)
    if path.is_file() and path.suffix != ".py":
        return path
    module, colon, name = given.rpartition(":")
    if not colon:
        raise InputError(
            f"{given!r} is neither a file of JSON, nor a schema's text, nor module:Name or file.py:Name of a pydantic"
            " model"
        )
    try:
        return getattr(_import_file(Path(module)) if _names_model_of_file(given) else _import_module(module), name)
    except Exception as error:  # whatever a module may raise while it is imported
        raise InputError(f"{given!r} cannot be imported: {type(error).__name__}: {error}") from error


def absolute_schema(given: str) -> str:
    """What :func:`load_schema` takes, with the file's path from the root: the same from whatever folder it is read.

    Text and ``module:Name`` stay as they are.
    """
    if _is_text(given):
        return given
    path, colon, name = given.rpartition(":") if _names_model_of_file(given) else (given, "", "")
    return f"{Path(path).resolve()}{colon}{name}" if colon or Path(path).is_file() else given


def _is_text(given: str) -> bool:
    return given.lstrip().startswith(("{", "true", "false"))


def _names_model_of_file(given: str) -> bool:
    return given.rpartition(":")[0].endswith(".py")


def _import_module(name: str) -> ModuleType:
    sys.path.insert(0, "")  # a model beside the user, as `python -m` finds it
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    name = str(path.resolve())  # no module's name, so that none is hidden
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where pydantic looks annotations up
    spec.loader.exec_module(module)
    return module


def load_tokenizer(name: str) -> Any:
    """A Hugging Face tokenizer, by name or folder.

    Raises:
        InputError: there is none.
    """
    os.environ.setdefault(
        "TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"
    )  # that torch is missing, which tokenizers do without
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    except Exception as error:  # a damaged tokenizer.json raises whatever the libraries stumble over
        raise InputError(f"no tokenizer could be loaded from {name!r}: {type(error).__name__}: {error}") from error


def load_vocabulary(tokenizer: str, size: int) -> Vocabulary:
    """Of a tokenizer by name or folder, or of single bytes where none is named; ``size`` 0: as wide as it is."""
    if not tokenizer:
        return Vocabulary([bytes([byte]) for byte in range(256)], 256, size or None)
    return Vocabulary.from_tokenizer(load_tokenizer(tokenizer), size or None)


def write_text(path: Path, text: str) -> None:
    """Write a file, UTF-8, as a whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
