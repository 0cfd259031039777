"""A schema's text → the regular expression of its JSON texts; what cannot be translated is named by its place."""

from __future__ import annotations

import json

from fastmask import outlines
from fastmask.errors import SchemaError
from fastmask.schema.audit import refused
from fastmask.schema.findings import listing
from fastmask.schema.whitespace import require_whitespace

__all__ = ["translate"]


def translate(schema: str, whitespace: str | None = None) -> str:
    """The regular expression, as outlines-core writes it.

    Raises:
        SchemaError: it cannot be translated; names the JSON pointer of each part that is why, where we know.
        InputError, InputTypeError, RegexError: ``whitespace`` is no pattern, or matches more than JSON allows.
    """
    between = None if whitespace is None else require_whitespace(whitespace)
    try:
        return outlines.schema_to_regex(schema, between)
    except SchemaError as error:
        if parts := refused(json.loads(schema)):
            raise SchemaError(f"this JSON schema cannot be translated:\n{listing(parts)}") from error
        raise
