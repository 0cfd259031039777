"""The constraints of a corpus: one for all records, or one for each record's schema."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from fastmask.constraint import Constraint
from fastmask.errors import FastmaskError, InputError, InputTypeError, SchemaError
from fastmask.rows import integer
from fastmask.schema import schema_text
from fastmask.vocabulary import Vocabulary

__all__ = ["Constraints"]

NAMED = 20  # names in a message
_JSON = ("{", "[", "true", "false")  # how a schema's text begins, or what was meant as one


class Constraints:
    """Schemas → constraints: each compiled once, those unused for longest forgotten where memory runs out.

    Args:
        vocabulary: of the corpus's tokens.
        schemas: what a record may name in place of giving its schema: name → schema.
        max_bytes: of all constraints kept, their masks included.
        compiled: called with each constraint once it is made; left behind when this is pickled.
        options: as for :meth:`Constraint.from_schema`: ``whitespace``, ``strict`` and the budgets.

    Raises:
        InputTypeError: a ``vocabulary`` that is none, or ``max_bytes`` that are no integer.
        InputError: ``max_bytes`` below 0.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        schemas: Mapping[str, Any] | None = None,
        max_bytes: int = 1 << 30,
        compiled: Callable[[Constraint], None] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(vocabulary, Vocabulary):
            raise InputTypeError(f"expected a Vocabulary, got {type(vocabulary).__name__}: Vocabulary.from_tokenizer()")
        if integer(max_bytes, "max_bytes") < 0:
            raise InputError(f"max_bytes must be at least 0, which keeps the newest constraint alone, got {max_bytes}")
        self.vocabulary = vocabulary
        self._schemas = dict(schemas or {})
        self._max_bytes = max_bytes
        self._compiled = compiled
        self._options = options
        self._known: OrderedDict[str, Constraint | FastmaskError] = OrderedDict()  # that used last at the end

    @property
    def settings(self) -> dict[str, Any]:
        """Which constraints the records' schemas become, JSON values by their names."""
        named = json.dumps({name: schema_text(schema) for name, schema in self._schemas.items()}, sort_keys=True)
        return {"named schemas": hashlib.sha256(named.encode()).hexdigest(), "compiled with": self._options}

    def of(self, schema: str) -> Constraint:
        """The constraint of a schema's name or JSON text.

        Raises:
            FastmaskError: it does not compile; the same error each time, without trying again.
        """
        found = self._known.get(schema)
        if found is None:
            found = self._known[schema] = self._compile(schema)
            self._forget_beyond_budget()
        self._known.move_to_end(schema)
        if isinstance(found, FastmaskError):
            raise found
        return found

    def _compile(self, schema: str) -> Constraint | FastmaskError:
        if self._schemas and schema not in self._schemas and not schema.lstrip().startswith(_JSON):
            names = ", ".join(map(repr, islice(self._schemas, NAMED)))
            more = " …" if len(self._schemas) > NAMED else ""
            return SchemaError(f"{schema[:60]!r} is not JSON, nor the name of a schema; those are {names}{more}")
        try:
            made = Constraint.from_schema(self._schemas.get(schema, schema), self.vocabulary, **self._options)
        except FastmaskError as error:
            return error
        if self._compiled is not None:
            self._compiled(made)
        return made

    def _forget_beyond_budget(self) -> None:
        """All but the newest; errors weigh nothing."""
        sizes = {schema: con.nbytes for schema, con in self._known.items() if isinstance(con, Constraint)}
        held = sum(sizes.values())
        for schema in list(sizes)[:-1]:
            if held <= self._max_bytes:
                return
            held -= sizes[schema]
            del self._known[schema]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.vocabulary, self._schemas, self._max_bytes, self._options)


def _restore(vocabulary: Vocabulary, schemas: Any, max_bytes: int, options: dict[str, Any]) -> Constraints:
    return Constraints(vocabulary, schemas, max_bytes, None, **options)
