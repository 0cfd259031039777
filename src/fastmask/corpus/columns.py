"""Which columns of a corpus hold what, and the token ids that come of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fastmask import _core
from fastmask.canonical import remove_spaces
from fastmask.corpus.lists import TokenLists, token_lists
from fastmask.corpus.tokenising import token_ids
from fastmask.errors import InputError, InputTypeError
from fastmask.rows import After, integer, token_rows
from fastmask.vocabulary import Vocabulary

__all__ = ["ADDED", "Columns", "Encoded", "encode", "require_columns"]

ADDED = ("input_ids", "start", "states", "verdict", "error_token", "error")
"""The columns that are added, in this order; with a schema for each record ``constraint`` too."""


@dataclass(frozen=True)
class Columns:
    """Where a record keeps its tokens or its text. One of ``tokens``, ``text`` and ``answer`` must be given.

    Args:
        tokens: a column of lists of token ids.
        text: a column of whole texts such as ``sentence<|endoftext|>{json}``, tokenised as they stand.
        answer: a column of answers, tokenised by themselves; the constraint begins with them.
        prompt: with ``answer``: a column of what stands before; tokenised by itself and joined, so that the boundary
            is exact.
        between: with ``prompt``: token ids between prompt and answer, usually one EOS.
        end: with ``answer``: token ids behind it, usually one EOS.
        start: with ``tokens`` or ``text``: where the constraint begins: an index, ``fm.after(token_id)``, or the
            name of a column of indices.
        schema: a column of JSON schemas or of their names, where each record has one of its own.
        error: a column of text that says why a record could not be read, null where it could, as
            ``read_records(on_error="keep")`` adds it.

    Raises:
        InputError: none or several of ``tokens``, ``text`` and ``answer``, or what does not go with the one given.
        InputTypeError: a ``start`` that is none of the three; ``between`` or ``end`` that holds no token ids.
    """

    tokens: str | None = None
    text: str | None = None
    answer: str | None = None
    prompt: str | None = None
    between: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    start: int | str | After = 0
    schema: str | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        for name in ("between", "end"):
            object.__setattr__(self, name, _ids(getattr(self, name), name))
        given = [name for name in ("tokens", "text", "answer") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError(f"say which column holds tokens, text or answer: exactly one of them, got {given}")
        stray = [name for name in ("prompt", "between", "end") if getattr(self, name) not in (None, ())]
        if self.answer is None and stray:
            raise InputError(f"{', '.join(stray)} must go with an answer column; a whole text goes into text")
        if self.between and self.prompt is None:
            raise InputError("between stands between prompt and answer: name the prompt's column, or leave it out")
        if not isinstance(self.start, (str, After)):
            integer(self.start, "start")
        if self.answer is not None and self.start != 0:
            raise InputError("the constraint begins with the answer: a start goes with tokens or text")

    @property
    def needs_tokenizer(self) -> bool:
        """Is there text, whose tokens a tokenizer must tell?"""
        return self.tokens is None


def _is_text(kind: pa.DataType) -> bool:
    """Also where it is text behind an extension or a dictionary; a column of nothing but nulls may become text yet."""
    while isinstance(kind, (pa.BaseExtensionType, pa.DictionaryType)):
        kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind.storage_type
    is_one = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(is_kind(kind) for is_kind in is_one)


def _ids(given: Any, name: str) -> tuple[int, ...]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InputTypeError(f"{name} must be token ids such as (tokenizer.eos_token_id,), got {given!r}")
    return tuple(integer(token_id, f"{name}: a token id") for token_id in given)


def require_columns(schema: pa.Schema, columns: Columns) -> None:
    """Look at columns before their records.

    Raises:
        InputError: a column that is not there.
        InputTypeError: a column of text that holds something else, or one of indices.
    """
    start = columns.start if isinstance(columns.start, str) else None
    for name in columns.tokens, columns.text, columns.answer, columns.prompt, start, columns.schema, columns.error:
        if name is not None and name not in schema.names:
            others = ", ".join(repr(other) for other in schema.names if other != columns.error)
            raise InputError(f"the corpus has no column {name!r}; it has {others or 'none'}")
    schemas = "schemas as JSON text, or their names"
    for name, held in (
        (columns.text, "text"),
        (columns.answer, "text"),
        (columns.prompt, "text"),
        (columns.schema, schemas),
    ):
        if name is not None and not _is_text(kind := schema.field(name).type):
            raise InputTypeError(
                f"column {name!r} must hold {held}, got {kind}; what else JSON has becomes text by"
                f" json.dumps(value, ensure_ascii=False), as columns={{{name!r}: pa.string()}} does reading JSONL"
            )
    if start is not None and not pa.types.is_integer(kind := schema.field(start).type):
        raise InputTypeError(f"column {start!r} must hold integers, got {kind}")


@dataclass
class Encoded:
    """The records of a batch as rows of token ids."""

    rows: TokenLists
    start: npt.NDArray[np.int64] | After  # [B] index of each row's first constrained token
    errors: dict[int, str]  # row → why it could not be read; it has no tokens then


def encode(batch: pa.RecordBatch, columns: Columns, tokenizer: Any, vocabulary: Vocabulary) -> Encoded:
    """The token ids of a batch that has the columns: see :func:`require_columns`.

    Raises:
        InputTypeError: a column of tokens that holds no lists of integers.
    """
    if columns.tokens is not None:
        rows = token_lists(batch.column(columns.tokens), columns.tokens)
        why = f"null in column {columns.tokens!r}, or among the ids of its list"
        errors = dict.fromkeys(np.flatnonzero(rows.is_null).tolist(), why)
        return Encoded(rows, _start(batch, columns.start, len(rows.is_null), errors), errors)
    if columns.text is not None:
        texts, errors = _texts(batch, columns.text)
        ids = token_ids(texts, tokenizer, add_special_tokens=True)
        for row in errors:
            ids[row] = []
        return Encoded(_flat(ids), _start(batch, columns.start, len(texts), errors), errors)
    return _encode_answers(batch, columns, tokenizer, vocabulary)


def _encode_answers(batch: pa.RecordBatch, columns: Columns, tokenizer: Any, vocabulary: Vocabulary) -> Encoded:
    assert columns.answer is not None  # as Columns made sure
    answers, errors = _texts(batch, columns.answer)
    prompts = [""] * len(answers)
    if columns.prompt is not None:
        prompts, missing = _texts(batch, columns.prompt)
        errors |= missing
    tails = token_ids(answers, tokenizer, add_special_tokens=False)
    remove_spaces(tails, answers, vocabulary)
    flat = _flat(tails)
    for row in _core.misspelled(vocabulary.core, flat.tokens, flat.offsets, answers):
        errors.setdefault(row, f"the tokenizer spells the answer with other bytes than it has: {answers[row][:60]!r}")
    if columns.prompt is None and not (columns.between or columns.end or errors):
        return Encoded(flat, np.zeros(len(answers), np.int64), errors)
    heads = [[]] * len(answers) if columns.prompt is None else token_ids(prompts, tokenizer, add_special_tokens=False)
    between, end = list(columns.between), list(columns.end)
    pieces = [[head, between, tail, end] for head, tail in zip(heads, tails, strict=True)]
    for row in errors:
        pieces[row] = [[]] * 4
    joined = _flat(list(chain.from_iterable(pieces)))
    offsets, answers_begin = joined.offsets[::4], joined.offsets[2::4]
    return Encoded(TokenLists(joined.tokens, offsets, flat.is_null), answers_begin - offsets[:-1], errors)


def _texts(batch: pa.RecordBatch, name: str) -> tuple[list[str], dict[int, str]]:
    """The strings of a column, empty in place of null, and the rows where that is so."""
    values = batch.column(name).to_pylist()
    errors = {row: f"null in column {name!r}, expected a text" for row, value in enumerate(values) if value is None}
    return ["" if value is None else value for value in values] if errors else values, errors


def _flat(rows: list[list[int]]) -> TokenLists:
    flat = token_rows(rows)
    offsets = np.append(flat.offsets, len(flat.flat))
    return TokenLists(flat.flat.astype(np.int32, copy=False), offsets, np.zeros(len(rows), np.bool_))


def _start(
    batch: pa.RecordBatch, start: int | str | After, count: int, errors: dict[int, str]
) -> npt.NDArray[np.int64] | After:
    if isinstance(start, After):
        return start
    if not isinstance(start, str):
        return np.full(count, start, np.int64)
    values = batch.column(start)
    for row in np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)):
        errors.setdefault(int(row), f"null in column {start!r}")
    filled: npt.NDArray[np.int64] = values.fill_null(0).cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False)
    return filled
