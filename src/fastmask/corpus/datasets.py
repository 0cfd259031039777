"""States for data sets of the ``datasets`` library."""

from __future__ import annotations

from typing import Any, TypeVar

from fastmask.constraint import Constraint
from fastmask.corpus.annotator import Annotator
from fastmask.corpus.columns import Columns
from fastmask.corpus.constraints import Constraints
from fastmask.corpus.problems import warn_if_all
from fastmask.corpus.summary import verdicts_of
from fastmask.corpus.verdict import ERROR, VERDICTS
from fastmask.errors import InputError, InputTypeError
from fastmask.rows import integer

__all__ = ["annotate"]

Data = TypeVar("Data")  # a datasets.Dataset or datasets.IterableDataset


def annotate(
    dataset: Data,
    constraints: Constraint | Constraints,
    columns: Columns | None = None,
    tokenizer: Any = None,
    *,
    max_length: int | None = None,
    batch_size: int = 1000,
    num_proc: int | None = None,
) -> Data:
    """The data set with the columns ``input_ids``, ``start``, ``states``, ``verdict``, ``error_token`` and ``error``.

    What they hold, :meth:`Annotator.__call__` tells. Lists stay in Arrow's buffers throughout. Annotating the same
    data set again, with a constraint made in the same way, is found in the cache of ``datasets``.

    Args:
        dataset: a ``Dataset`` or an ``IterableDataset``; its format is kept.
        constraints: one for all records, or one for each record's schema.
        columns: which columns hold what; ``None``: ``Columns(tokens="input_ids")``, constrained from the beginning.
        tokenizer: where the data set holds text.
        max_length: tokens that a record may have; longer ones get the verdict ``error``.
        batch_size: records at a time.
        num_proc: processes, of a ``Dataset`` only; each has the kernel's threads besides.

    Raises:
        InputError, InputTypeError: columns that are missing or of the wrong type, before any record is read where the
            data set tells its features; an argument out of range or of the wrong type; ``num_proc`` for an
            ``IterableDataset``, which the workers of a ``DataLoader`` share instead.
        VocabularyError, TokenRangeError: as for :class:`Annotator`.

    Warns:
        UserWarning: no record of a ``Dataset`` could be judged.
    """
    import datasets

    columns = Columns(tokens="input_ids") if columns is None else columns
    annotator = Annotator(constraints, columns, tokenizer, max_length)
    if integer(batch_size, "batch_size") < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    if getattr(dataset, "features", None) is not None:  # an IterableDataset may not know them
        annotator.require(dataset.features.arrow_schema)  # type: ignore[attr-defined]
    if isinstance(dataset, datasets.Dataset):
        arrow = dataset.with_format("arrow")
        # map returns a data set without records as it is, without the columns.
        mapped = (
            arrow.map(annotator, batched=True, batch_size=batch_size, num_proc=num_proc)
            if len(arrow)
            else datasets.Dataset(annotator(arrow[:]))
        )
        _warn_if_all_errors(mapped)
        return mapped.with_format(dataset.format["type"], **dataset.format["format_kwargs"])  # type: ignore[no-any-return]
    if isinstance(dataset, datasets.IterableDataset):
        if num_proc is not None:
            raise InputError("num_proc goes with a Dataset; an IterableDataset has a DataLoader's workers")
        mapped = dataset.with_format("arrow").map(annotator, batched=True, batch_size=batch_size)
        formatting = dataset._formatting  # which nothing public tells
        return mapped.with_format(formatting and formatting.format_type)  # type: ignore[no-any-return]
    raise InputTypeError(f"expected a datasets.Dataset or IterableDataset, got {type(dataset).__name__}")


def _warn_if_all_errors(annotated: Any) -> None:
    """The first record mostly tells that it is not so."""
    said = annotated.select_columns(["verdict", "error"])
    first = said.with_format(None)[0] if len(said) else {"verdict": None}
    if first["verdict"] == VERDICTS[ERROR]:
        warn_if_all(
            verdicts_of(said.with_format("arrow")[:])[VERDICTS[ERROR]], len(said), f"record 0: {first['error']}"
        )
