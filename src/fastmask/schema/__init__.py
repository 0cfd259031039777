"""JSON schemas: from whatever describes one to its text, and which of its keywords would be enforced."""

from fastmask.schema.size import require_translatable
from fastmask.schema.strict import require_enforced
from fastmask.schema.text import schema_text
from fastmask.schema.translation import translate

__all__ = ["require_enforced", "require_translatable", "schema_text", "translate"]
