"""States for data sets of the ``datasets`` library."""

from __future__ import annotations

from typing import Any, TypeVar

from fastmask.constraint import Constraint
from fastmask.corpus.annotator import Annotator
from fastmask.corpus.columns import Columns
from fastmask.corpus.constraints import Constraints
from fastmask.errors import InputError, InputTypeError

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
    data set with an equal constraint again is found in the cache of ``datasets``.

    Args:
        dataset: a ``Dataset`` or an ``IterableDataset``; its format is kept.
        constraints: one for all records, or one for each record's schema.
        columns: which columns hold what; ``None``: ``Columns(tokens="input_ids")``, constrained from the beginning.
        tokenizer: where the data set holds text.
        max_length: tokens that a record may have; longer ones get the verdict ``error``.
        batch_size: records at a time.
        num_proc: processes, of a ``Dataset`` only; each has the kernel's threads besides.

    Raises:
        InputError, InputTypeError: columns that are missing or of the wrong type; ``num_proc`` for an
            ``IterableDataset``, which the workers of a ``DataLoader`` share instead.
    """
    import datasets

    annotator = Annotator(constraints, columns or Columns(tokens="input_ids"), tokenizer, max_length)
    if isinstance(dataset, datasets.Dataset):
        arrow = dataset.with_format("arrow")
        mapped = arrow.map(annotator, batched=True, batch_size=batch_size, num_proc=num_proc)
        return mapped.with_format(dataset.format["type"], **dataset.format["format_kwargs"])  # type: ignore[no-any-return]
    if isinstance(dataset, datasets.IterableDataset):
        if num_proc is not None:
            raise InputError("num_proc goes with a Dataset; an IterableDataset has a DataLoader's workers")
        mapped = dataset.with_format("arrow").map(annotator, batched=True, batch_size=batch_size)
        formatting = dataset._formatting  # which nothing public tells
        return mapped.with_format(formatting and formatting.format_type)  # type: ignore[no-any-return]
    raise InputTypeError(f"expected a datasets.Dataset or IterableDataset, got {type(dataset).__name__}")
