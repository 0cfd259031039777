"""States for data sets of Ray Data.

Each actor unpacks the annotator once, from Ray's object store, where one copy lies for all actors of a machine. Its
constraint travels as the bytes that :meth:`Constraint.save` writes, so no file has to be within reach of every machine.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import ray

from fastmask.corpus.annotator import Annotator
from fastmask.errors import InputTypeError
from fastmask.threads import set_num_threads

__all__ = ["AnnotatorActor", "annotate_with_ray"]


class AnnotatorActor:
    """What ``map_batches`` runs in each actor: an annotator, on as many threads as the actor has processors.

    Args:
        annotator: reference to an :class:`Annotator`, as ``ray.put`` gives it.
    """

    def __init__(self, annotator: Any) -> None:
        processors = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
        set_num_threads(max(1, int(processors)))
        self._annotate: Annotator = ray.get(annotator)

    def __call__(self, table: pa.Table) -> pa.Table:
        return self._annotate(table)


def annotate_with_ray(
    dataset: Any,
    annotator: Annotator,
    *,
    concurrency: int | tuple[int, int] | None = None,
    batch_size: int | None = 4096,
    **options: Any,
) -> Any:
    """The data set with the columns that :meth:`Annotator.__call__` tells of, made by a pool of actors.

    Nothing runs before the result is read. Records come in the order that Ray Data gives them (its own, unless
    ``ray.data.DataContext.get_current().execution_options.preserve_order`` is set). An actor whose process dies is
    begun anew and its batches are done again, which is what Ray Data does by itself.

    Args:
        dataset: a ``ray.data.Dataset``.
        annotator: what annotates each batch; it is pickled once.
        concurrency: number of actors, or the fewest and the most; ``None``: as many as Ray Data finds useful. Steps
            before this one need processors too: actors that hold all of them wait for ever.
        batch_size: records at a time; ``None``: a block.
        options: others of ``map_batches``, such as ``num_cpus``, the processors of each actor.

    Raises:
        InputTypeError: not a ``ray.data.Dataset``. What a batch raises comes from Ray when the result is read.
    """
    if not isinstance(dataset, ray.data.Dataset):
        raise InputTypeError(f"expected a ray.data.Dataset, got {type(dataset).__name__}")
    return dataset.map_batches(
        AnnotatorActor,
        fn_constructor_args=(ray.put(annotator),),
        compute=_pool(concurrency),
        batch_size=batch_size,
        batch_format="pyarrow",
        zero_copy_batch=True,
        **options,
    )


def _pool(concurrency: int | tuple[int, int] | None) -> ray.data.ActorPoolStrategy:
    """Of actors; map_batches has a ``concurrency`` of its own, deprecated since Ray 2.51."""
    if isinstance(concurrency, tuple):
        return ray.data.ActorPoolStrategy(min_size=concurrency[0], max_size=concurrency[1])
    return ray.data.ActorPoolStrategy(size=concurrency)
