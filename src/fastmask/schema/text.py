"""Whatever describes a JSON schema → its text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastmask.errors import InputTypeError, SchemaError

__all__ = ["schema_text"]


def schema_text(schema: Any) -> str:
    """The JSON text of a pydantic model, of anything ``pydantic.TypeAdapter`` takes, of a dict, a text, or a file.

    Raises:
        SchemaError: a text or a file that is not JSON, or a type from which pydantic makes no schema.
        InputTypeError: something that describes no schema, or pydantic is needed and not installed.
        OSError: a ``pathlib.Path`` that cannot be read.
    """
    what = f"the schema in {schema}" if isinstance(schema, Path) else "the schema"
    if isinstance(schema, Path):
        schema = _parse(schema.read_bytes().removeprefix(b"\xef\xbb\xbf"), what)  # some editors' mark of UTF-8
    elif isinstance(schema, (bytes, str)):
        schema = _parse(schema, what)
    elif not isinstance(schema, (dict, bool)):
        schema = _pydantic_schema(schema)
    if not isinstance(schema, (dict, bool)):
        raise SchemaError(f"{what} is not a schema, which is an object or a boolean: {json.dumps(schema)[:80]}")
    try:
        return json.dumps(schema, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"{what} holds something that is not JSON: {error}") from error


def _parse(text: bytes | str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        if isinstance(text, str) and "{" not in text:  # whether there is such a file is nothing to tell whoever asks
            named = f"{text!r} is not JSON" if len(text) <= 100 else f"{what} is not JSON"
            raise SchemaError(f"{named}; if it is a file's name, give pathlib.Path of it") from error
        raise SchemaError(f"{what} is not JSON: {error}") from error
    except RecursionError:
        raise SchemaError(f"{what} is nested too deeply to be read; flatten it") from None


def _pydantic_schema(annotation: Any) -> Any:
    try:
        import pydantic
    except ImportError:
        raise InputTypeError(
            f"{annotation!r} is neither a dict nor JSON text; other schemas need pydantic: pip install pydantic"
        ) from None
    try:
        return pydantic.TypeAdapter(annotation).json_schema()
    except pydantic.errors.PydanticUserError as error:
        reason = str(error).splitlines()[0]  # the others are about pydantic's own hooks
        raise SchemaError(f"pydantic makes no JSON schema of {annotation!r}: {reason}") from error
