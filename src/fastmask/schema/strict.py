"""What becomes of the audit's findings: an error, or a warning."""

from __future__ import annotations

import json
import warnings

from fastmask.errors import InputTypeError, UnsupportedSchemaError, UnsupportedSchemaWarning
from fastmask.schema.audit import audit
from fastmask.schema.findings import listing

__all__ = ["require_enforced"]


def require_enforced(schema: str, strict: bool) -> None:
    """Refuse a schema (its text) of which the translation would drop or weaken a part; or warn, unless ``strict``.

    Raises:
        UnsupportedSchemaError: with ``strict``; names the JSON pointer of each such part and what would happen.
        InputTypeError: ``strict`` is neither true nor false.
    """
    if not isinstance(strict, bool):
        raise InputTypeError(f"strict must be True or False, got {strict!r}")
    findings = audit(json.loads(schema))
    if not findings:
        return
    found = f"a part of this schema would not be enforced:\n{listing(findings)}"
    if strict:
        raise UnsupportedSchemaError(f"{found}\nSay it in other keywords, or pass strict=False and validate afterwards")
    warnings.warn(found, UnsupportedSchemaWarning, stacklevel=3)
