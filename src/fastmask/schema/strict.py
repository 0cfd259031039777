"""What becomes of the audit's findings: an error, or a warning."""

from __future__ import annotations

import json
import warnings

from fastmask.errors import UnsupportedSchemaError, UnsupportedSchemaWarning
from fastmask.schema.audit import audit

__all__ = ["require_enforced"]

_LISTED_FINDINGS = 5  # of a schema's faults; a message is no report


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
