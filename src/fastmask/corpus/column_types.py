"""One type for each column of a whole corpus: settled before reading, and held to by every record.

JSON alone leaves types open. They are those of the first records (whole numbers and fractions together are float64;
where two records contradict each other the first one counts), joined with those that the other files name. A column
that has nothing but nulls counts as text, and so does one whose objects are all empty: Parquet has no type for those.
A record that does not fit is broken; nothing is ever rounded, cut or left out to make it fit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa

from fastmask.errors import CorpusError

__all__ = ["conform", "infer", "join", "json_table", "nulls", "settle", "text_columns"]

NUMBERS = {int, float}
DEEPEST = 64  # levels of nesting that get a type; what lies below does not fit any
JSON_NAMES = {bool: "true or false", int: "a whole number", float: "a fraction", str: "text", list: "a list"}
REMEDY = "types are settled by the first records: give a larger sample=, or columns={%r: pa.string()} for JSON text"


def infer(rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """The types of JSON objects, columns in order of appearance; what no record tells is null."""
    return pa.schema(list(_infer(rows, 0))) if rows else pa.schema([])


def _infer(values: Sequence[Any], depth: int) -> pa.DataType:
    values = [value for value in values if value is not None]
    if not values or depth > DEEPEST:
        return pa.null()
    first = type(values[0])
    if first in NUMBERS:
        return pa.float64() if float in set(map(type, values)) else pa.int64()
    alike = [value for value in values if type(value) is first]
    if first is list:
        return pa.list_(_infer(list(chain.from_iterable(alike)), depth + 1))
    if first is dict:
        names = dict.fromkeys(chain.from_iterable(alike))
        return pa.struct([(name, _infer([value.get(name) for value in alike], depth + 1)) for name in names])
    return pa.bool_() if first is bool else pa.string()


def join(schemas: Iterable[tuple[str, pa.Schema]]) -> pa.Schema:
    """One schema that holds the records of all files, given as (name, schema): every column of each.

    Raises:
        CorpusError: a file's column has a type that cannot be joined with that of the files before it.
    """
    joined = pa.schema([])
    for name, schema in schemas:
        if len(set(schema.names)) < len(schema.names):
            raise CorpusError(f"{name}: two columns have one name: {', '.join(schema.names)}")
        plain = pa.schema([pa.field(column.name, column.type) for column in schema])
        try:
            joined = pa.unify_schemas([joined, plain], promote_options="permissive")
        except pa.ArrowException as error:
            raise CorpusError(f"{name}: its columns do not go with those of the files before it: {error}") from error
    return joined


def settle(schema: pa.Schema, columns: Mapping[str, pa.DataType]) -> pa.Schema:
    """``schema`` with the types that the caller gave, and without any that Parquet cannot hold."""
    types = {column.name: pa.string() if _is_empty(column.type) else _told(column.type) for column in schema}
    return pa.schema(list((types | dict(columns)).items()))


def text_columns(schema: pa.Schema, settled: pa.Schema, asked: Mapping[str, pa.DataType]) -> set[str]:
    """The columns that ``settle`` or the caller made text: what is no text there is kept as JSON text."""
    return {
        column.name
        for column in settled
        if pa.types.is_string(column.type)
        and (
            column.name in asked
            or column.name not in schema.names
            or not _told(schema.field(column.name).type).equals(pa.string())
        )
    }


def _told(type: pa.DataType) -> pa.DataType:
    if pa.types.is_null(type):
        return pa.string()
    if pa.types.is_list(type):
        return pa.list_(_told(type.value_type))
    if pa.types.is_struct(type):
        return pa.struct([(inner.name, _told(inner.type)) for inner in _fields(type)])
    return type


def _is_empty(type: pa.DataType) -> bool:
    """Whether an object without any key is all, or a part of, what the type holds."""
    if pa.types.is_list(type):
        return _is_empty(type.value_type)
    if pa.types.is_struct(type):
        return not type.num_fields or any(_is_empty(inner.type) for inner in _fields(type))
    return False


def _fields(type: pa.DataType) -> list[pa.Field]:
    return [type.field(i) for i in range(type.num_fields)]


def json_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, as_text: set[str]) -> pa.Table:
    """JSON objects as a table.

    Raises:
        ValueError, OverflowError, UnicodeEncodeError, pa.ArrowException: a row that does not fit.
    """
    for name in chain.from_iterable(rows):
        if name not in schema.names:
            raise ValueError(f"the column {name!r} is new; {REMEDY % name}")
    columns = []
    for column in schema:
        values = [row.get(column.name) for row in rows]
        if column.name in as_text:
            values = [value if value is None else _text(value) for value in values]
        _check(values, column.type, column.name, column.name)
        columns.append(pa.array(values, column.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _check(values: Sequence[Any], type: pa.DataType, path: str, column: str) -> None:
    """Refuses what pyarrow would round (1.5 as 1) or leave out (an object's unknown key) without a word."""
    values = [value for value in values if value is not None]
    if pa.types.is_list(type):
        _check_kinds(values, {list}, type, path, column)
        _check(list(chain.from_iterable(values)), type.value_type, f"{path}[]", column)
    elif pa.types.is_struct(type):
        _check_kinds(values, {dict}, type, path, column)
        inner_types = {inner.name: inner.type for inner in _fields(type)}
        for name in dict.fromkeys(chain.from_iterable(values)):
            if name not in inner_types:
                raise ValueError(f"the key {path}.{name} is new; {REMEDY % column}")
            inner = [value.get(name) for value in values]
            _check(inner, inner_types[name], f"{path}.{name}", column)
    elif pa.types.is_integer(type):
        _check_kinds(values, {int}, type, path, column)
    elif pa.types.is_floating(type):
        _check_kinds(values, NUMBERS, type, path, column)
    elif pa.types.is_string(type):
        _check_kinds(values, {str}, type, path, column)


def _check_kinds(values: Sequence[Any], kinds: set[type], expected: pa.DataType, path: str, column: str) -> None:
    for kind in set(map(type, values)) - kinds:
        found = JSON_NAMES.get(kind, "an object")
        raise ValueError(f"{path} should be {expected}, found {found}; {REMEDY % column}")


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A file's columns in the corpus's types; what the file does not have is null.

    Raises:
        ValueError, pa.ArrowException: a value that its column's type cannot hold exactly; text that is not UTF-8.
    """
    table.validate(full=True)
    for name in table.column_names:
        if name not in schema.names:
            raise ValueError(f"the column {name!r} is new: the schema was settled without this file")
    columns = [
        table[column.name].cast(column.type) if column.name in table.column_names else pa.nulls(len(table), column.type)
        for column in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def nulls(schema: pa.Schema, count: int) -> pa.Table:
    """``count`` rows of nulls."""
    return pa.Table.from_arrays([pa.nulls(count, column.type) for column in schema], schema=schema)
