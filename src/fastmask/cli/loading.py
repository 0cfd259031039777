"""What the command line is given → schemas, vocabularies and files to write."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from fastmask.errors import InputError
from fastmask.vocabulary import Vocabulary

__all__ = ["load_schema", "load_tokenizer", "load_vocabulary", "write_text"]


def load_schema(given: str) -> Any:
    """A file's text, a model named ``module:Name``, or the text itself."""
    if given.lstrip().startswith(("{", "true", "false")):
        return given
    path = Path(given)
    if path.is_file():
        return path.read_text(encoding="utf-8")
    module, colon, name = given.partition(":")
    if not colon:
        raise InputError(f"{given!r} is neither a file, nor a schema's text, nor module:Name of a pydantic model")
    sys.path.insert(0, "")  # a model beside the user, as `python -m` finds it
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{given!r} cannot be imported: {error}") from error


def load_tokenizer(name: str) -> Any:
    """A Hugging Face tokenizer, by name or folder.

    Raises:
        InputError: there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(f"no tokenizer could be loaded from {name!r}: {error}") from error


def load_vocabulary(tokenizer: str, size: int) -> Vocabulary:
    """Of a tokenizer by name or folder, or of single bytes where none is named; ``size`` 0: as wide as it is."""
    if not tokenizer:
        return Vocabulary([bytes([byte]) for byte in range(256)], 256, size or None)
    return Vocabulary.from_tokenizer(load_tokenizer(tokenizer), size or None)


def write_text(path: Path, text: str) -> None:
    """Write a file, UTF-8.

    Raises:
        InputError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
