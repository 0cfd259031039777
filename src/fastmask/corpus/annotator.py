"""Batches of records → the same with token ids, states and verdicts: the one step that every engine runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import fastmask
from fastmask import _core
from fastmask.constraint import Constraint
from fastmask.corpus.columns import ADDED, Columns, Encoded, encode, require_columns
from fastmask.corpus.constraints import Constraints
from fastmask.corpus.lists import lists_of
from fastmask.corpus.tokenising import tokenizer_fingerprint
from fastmask.corpus.verdict import ERROR, VERDICTS, judge
from fastmask.errors import FastmaskError, InputError, InputTypeError, TokenRangeError, VocabularyError
from fastmask.rows import After, integer
from fastmask.vocabulary import Vocabulary

__all__ = ["Annotator"]


class Annotator:
    """A callable for batches of records; picklable, so that any engine can send it to its workers.

    Args:
        constraints: one :class:`Constraint` for all records, or :class:`Constraints` for ``columns.schema``.
        columns: which columns hold what.
        tokenizer: where the corpus holds text; the one that the vocabulary was made from.
        max_length: tokens that a record may have; longer ones are errors. ``None``: any.

    Raises:
        InputError: text without a tokenizer, ``columns.schema`` and ``constraints`` that do not go together, or a
            ``max_length`` below 0.
        InputTypeError: ``constraints``, ``columns`` or ``max_length`` of another type.
        VocabularyError: the tokenizer has more tokens than the vocabulary.
        TokenRangeError: the constraint is to begin after a token that the vocabulary does not have, or such a token
            is to be put behind the answers.
    """

    def __init__(
        self,
        constraints: Constraint | Constraints,
        columns: Columns,
        tokenizer: Any = None,
        max_length: int | None = None,
    ) -> None:
        if not isinstance(constraints, (Constraint, Constraints)):
            raise InputTypeError(f"expected a Constraint or Constraints, got {type(constraints).__name__}")
        if not isinstance(columns, Columns):
            raise InputTypeError(f'expected Columns such as Columns(answer="reply"), got {type(columns).__name__}')
        if max_length is not None and integer(max_length, "max_length") < 0:
            raise InputError(f"max_length must be at least 0, or None for any length, got {max_length}")
        if columns.needs_tokenizer and tokenizer is None:
            raise InputError("the corpus holds text: pass the tokenizer that turns it into tokens")
        if (columns.schema is None) != isinstance(constraints, Constraint):
            raise InputError("a schema column goes with Constraints(vocabulary), one schema for all with a Constraint")
        if tokenizer is not None and len(tokenizer) > constraints.vocabulary.size:
            raise VocabularyError(
                f"the tokenizer has {len(tokenizer):,} tokens, the vocabulary {constraints.vocabulary.size:,}: make it"
                " with Vocabulary.from_tokenizer(tokenizer), from this tokenizer as it is now"
            )
        named = [("end", token_id) for token_id in columns.end]
        if isinstance(columns.start, After):
            named.append(("start", columns.start.token_id))
        for name, token_id in named:
            if not 0 <= token_id < constraints.vocabulary.size:
                raise TokenRangeError(
                    f"{name}: token id {token_id} lies outside 0 … {constraints.vocabulary.size - 1}, the vocabulary"
                )
        self.constraints = constraints
        self.columns = columns
        self.tokenizer = tokenizer
        self.max_length = max_length

    def require(self, schema: pa.Schema) -> None:
        """Raise for a table of such columns what :meth:`__call__` would, before any record is read."""
        self(schema.empty_table())

    @property
    def vocabulary(self) -> Vocabulary:
        """Of the corpus's tokens."""
        return self.constraints.vocabulary

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides about what is written, JSON values by their names; see :func:`write_shards`."""
        asked = self.constraints
        schemas = (
            {"schema, with the vocabulary,": asked.fingerprint} if isinstance(asked, Constraint) else asked.settings
        )
        return {
            "fastmask": fastmask.__version__,
            "vocabulary": self.vocabulary.fingerprint,
            **({"tokenizer": tokenizer_fingerprint(self.tokenizer)} if self.columns.needs_tokenizer else {}),
            **schemas,
            "columns": {name: value for name, value in asdict(self.columns).items() if value not in (None, ())},
            "max length": self.max_length,
        }

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with :data:`ADDED` columns, one row for each of its rows.

        ``input_ids`` list<int32 or int64>; ``start`` int64, the index of the first constrained token; ``states``
        list<int32>, aligned as :meth:`Constraint.walk` tells; ``verdict`` string, one of :data:`VERDICTS`;
        ``error_token`` int32, where the constraint was broken, -1 = nowhere; ``error`` string, why a record could not
        be judged, null where it was.

        Raises:
            InputError, InputTypeError: a column that is missing, of the wrong type, or there already.
        """
        if not isinstance(table, pa.Table):
            raise InputTypeError(
                f"expected a pyarrow.Table, got {type(table).__name__}: ask for batches in the format of Arrow"
            )
        require_columns(table.schema, self.columns)
        replaced = self._replaced(table)
        clashing = [name for name in self._added if name in table.column_names and name not in replaced]
        if clashing:
            raise InputError(f"the corpus has {', '.join(map(repr, clashing))} already: rename or drop what is there")
        batches = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        return pa.Table.from_batches([self._annotate(batch) for batch in batches])

    @property
    def _added(self) -> tuple[str, ...]:
        return ADDED if self.columns.schema is None else (*ADDED, "constraint")

    def _replaced(self, table: pa.Table) -> set[str]:
        """Columns that are written under a name that was there: those that are read, or all of an annotated table."""
        if set(self._added) <= set(table.column_names):
            return set(self._added)
        read = {"input_ids": self.columns.tokens, "start": self.columns.start, "error": self.columns.error}
        return {name for name, column in read.items() if name == column}

    def _annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        encoded = encode(batch, self.columns, self.tokenizer, self.vocabulary)
        encoded.errors |= self._unreadable(batch)
        self._refuse_bounds(encoded)
        try:
            walked = self._walk(batch, encoded)
        except TokenRangeError:  # rare, so nobody looks for it beforehand
            self._refuse_tokens(encoded)
            walked = self._walk(batch, encoded)
        errors, count = encoded.errors, batch.num_rows
        added = {
            "input_ids": lists_of(encoded.rows.tokens, encoded.rows.offsets),
            "start": pa.array(_starts(encoded)),
            "states": lists_of(walked.states, encoded.rows.offsets),
            "verdict": pa.array(VERDICTS).take(pa.array(walked.verdict)),
            "error_token": pa.array(walked.error_token),
            "error": pa.array(map(errors.get, range(count)), pa.string()) if errors else pa.nulls(count, pa.string()),
        }
        if self.columns.schema is not None:
            added["constraint"] = pa.array(walked.constraint, pa.string())
        kept = [field for field in batch.schema if field.name not in added]
        fields = [*kept, *(pa.field(name, array.type) for name, array in added.items())]
        arrays = [*(batch.column(field.name) for field in kept), *added.values()]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, batch.schema.metadata))

    def _walk(self, batch: pa.RecordBatch, encoded: Encoded) -> _Walked:
        """The states of all rows without an error, and what these say."""
        count = batch.num_rows
        states = np.empty(len(encoded.rows.tokens), np.int32)
        verdict, error_token = np.full(count, ERROR, np.int8), np.full(count, -1, np.int32)
        constraint = np.full(count, None, object)
        for con, rows in self._groups(batch, encoded.errors):
            offsets, lengths = encoded.rows.offsets[rows], encoded.rows.lengths[rows]
            after = encoded.start.token_id if isinstance(encoded.start, After) else 0
            start = None if isinstance(encoded.start, After) else encoded.start[rows]
            con.core.walk_flat(encoded.rows.tokens, offsets, lengths, start, after, None, states)
            before = np.full(len(rows), _core.FREE if start is None else con.initial_state, np.int32)
            verdict[rows], error_token[rows] = judge(states, offsets, lengths, before, con.finals)
            if self.columns.schema is not None:
                constraint[rows] = con.fingerprint
        for row in encoded.errors:  # nobody walked them
            states[encoded.rows.offsets[row] : encoded.rows.offsets[row + 1]] = _core.FREE
        return _Walked(states, verdict, error_token, constraint)

    def _unreadable(self, batch: pa.RecordBatch) -> dict[int, str]:
        """What was wrong with records before they came here."""
        if self.columns.error is None:
            return {}
        said = batch.column(self.columns.error)
        return {int(row): said[int(row)].as_py() for row in np.flatnonzero(said.is_valid())}

    def _refuse_bounds(self, encoded: Encoded) -> None:
        """Add rows that are too long, or begin outside themselves, to the errors."""
        lengths = encoded.rows.lengths
        if self.max_length is not None:
            for row in np.flatnonzero(lengths > self.max_length).tolist():
                encoded.errors.setdefault(row, f"{lengths[row]} tokens, more than the {self.max_length} allowed")
        if not isinstance(encoded.start, After):
            for row in np.flatnonzero((encoded.start < 0) | (encoded.start > lengths)).tolist():
                encoded.errors.setdefault(
                    row, f"start {encoded.start[row]} lies outside 0 … {lengths[row]}, the record's tokens"
                )

    def _refuse_tokens(self, encoded: Encoded) -> None:
        """Add rows with ids outside the vocabulary to the errors; ids before a row's start may be anything."""
        tokens, offsets, size = encoded.rows.tokens, encoded.rows.offsets, self.vocabulary.size
        begins = offsets[:-1] + _starts(encoded)
        for position in np.flatnonzero((tokens < 0) | (tokens >= size)).tolist():
            row = int(np.searchsorted(offsets, position, "right")) - 1
            if position < begins[row]:
                continue
            encoded.errors.setdefault(
                row,
                f"token id {tokens[position]} at position {position - offsets[row]} lies outside 0 … {size - 1}, the"
                " vocabulary: was the corpus tokenised with another tokenizer?",
            )

    def _groups(self, batch: pa.RecordBatch, errors: dict[int, str]) -> list[tuple[Constraint, npt.NDArray[np.int64]]]:
        """Which rows follow which constraint; rows with errors follow none."""
        sound = np.ones(batch.num_rows, np.bool_)
        sound[list(errors)] = False
        if isinstance(self.constraints, Constraint):
            return [(self.constraints, np.flatnonzero(sound))]
        assert self.columns.schema is not None  # as __init__ made sure
        schemas = batch.column(self.columns.schema).to_pylist()
        rows_of: dict[str, list[int]] = {}
        for row in np.flatnonzero(sound).tolist():
            schema = schemas[row]
            if schema is None:
                errors[row] = f"null in column {self.columns.schema!r}"
            else:
                rows_of.setdefault(schema, []).append(row)
        groups = []
        for schema, rows in rows_of.items():
            try:
                groups.append((self.constraints.of(schema), np.array(rows)))
            except FastmaskError as error:
                errors.update(dict.fromkeys(rows, f"its schema: {error}"))
        return groups


class _Walked(NamedTuple):
    """What a batch's tokens led to."""

    states: npt.NDArray[np.int32]  # [N]
    verdict: npt.NDArray[np.int8]  # [B]
    error_token: npt.NDArray[np.int32]  # [B]
    constraint: npt.NDArray[np.object_]  # [B] fingerprints, where each record has a schema and it compiled


def _starts(encoded: Encoded) -> npt.NDArray[np.int64]:
    """The index of each row's first constrained token; a row without a trigger has its length."""
    if not isinstance(encoded.start, After):
        return encoded.start
    bounds, tokens = encoded.rows.offsets, encoded.rows.tokens
    triggers = np.append(np.flatnonzero(tokens == encoded.start.token_id), len(tokens))
    begins = triggers[np.searchsorted(triggers, bounds[:-1])] + 1
    starts: npt.NDArray[np.int64] = np.minimum(begins, bounds[1:]) - bounds[:-1]
    return starts
