"""Whatever describes a JSON schema → its text."""

from __future__ import annotations

import json
from typing import Any

from fastmask.errors import InputTypeError, SchemaError

__all__ = ["schema_text"]


def schema_text(schema: Any) -> str:
    """The JSON text of a pydantic model, of anything ``pydantic.TypeAdapter`` takes, of a dict, or of a text.

    Raises:
        SchemaError: a text that is not JSON, or a type from which pydantic makes no schema.
        InputTypeError: something that describes no schema, or pydantic is needed and not installed.
    """
    if isinstance(schema, (bytes, str)):
        schema = _parse(schema)
    elif not isinstance(schema, (dict, bool)):
        schema = _pydantic_schema(schema)
    if not isinstance(schema, (dict, bool)):
        raise SchemaError(f"a JSON schema is an object or a boolean, got {json.dumps(schema)[:80]}")
    try:
        return json.dumps(schema, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"the schema holds something that is not JSON: {error}") from error


def _parse(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SchemaError(f"the schema's text is not JSON: {error}") from error
    except RecursionError:
        raise SchemaError("the schema's text is nested too deeply to be read; flatten it") from None


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
        raise SchemaError(f"pydantic makes no JSON schema of {annotation!r}: {error}") from error
