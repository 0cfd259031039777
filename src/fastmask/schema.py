"""Whatever describes a JSON schema → its text, audited."""

from __future__ import annotations

import json
import warnings
from typing import Any

from fastmask.errors import InputTypeError, SchemaError, UnsupportedSchemaError, UnsupportedSchemaWarning
from fastmask.schema_audit import audit

__all__ = ["require_enforced", "schema_text"]

_LISTED_FINDINGS = 5  # of a schema's faults; a message is no report


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


def require_enforced(schema: str, strict: bool) -> None:
    """Refuse a schema (its text) of which the translation would drop or weaken a part; or warn, unless ``strict``.

    Raises:
        UnsupportedSchemaError: with ``strict``; names the JSON pointer of each such part and what would happen.
    """
    findings = audit(json.loads(schema))
    if not findings:
        return
    listed = [f"  {finding.pointer or '/'}: {finding.effect}" for finding in findings[:_LISTED_FINDINGS]]
    if len(findings) > _LISTED_FINDINGS:
        listed.append(f"  … and {len(findings) - _LISTED_FINDINGS} more")
    found = "a part of this schema would not be enforced:\n" + "\n".join(listed)
    if strict:
        raise UnsupportedSchemaError(f"{found}\nSay it in other keywords, or pass strict=False and validate afterwards")
    warnings.warn(found, UnsupportedSchemaWarning, stacklevel=3)
