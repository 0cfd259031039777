"""An error where transformers would drop a processor without a word, and with it the constraint.

Continuous batching has no use for ordinary logits processors (see :mod:`fastmask.hf.continuous_batching` for what it
has). ``generate_batch`` swallows a ``logits_processor`` among its keyword arguments, ``generate`` one beside
``cache_implementation="paged"``, and neither ever looks at it: nothing that a processor could do would be noticed. So
both methods are wrapped, in their class, when ``fastmask.hf`` is imported. The wrappers look at that one argument and
hand everything on as it came.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

from transformers import GenerationMixin

from fastmask.errors import InputError

__all__ = ["NO_PLACE", "refuse_where_dropped"]

NO_PLACE = (
    "ConstraintLogitsProcessor has no place in continuous batching: use"
    " fastmask.hf.continuous_batching.constrained_batching(model, constraint)"
)


def refuse_where_dropped(processor: type) -> None:
    """From now on, ``InputError`` where a ``processor`` is given to a method that would drop it."""
    _wrap("generate_batch", processor, lambda given: True)
    _wrap("generate", processor, lambda given: given.get("cache_implementation") == "paged")


def _wrap(name: str, processor: type, drops: Callable[[Mapping[str, Any]], bool]) -> None:
    owner = next((base for base in GenerationMixin.__mro__ if name in vars(base)), None)
    if owner is None:  # a transformers without continuous batching
        return
    method = vars(owner)[name]
    signature = inspect.signature(method)

    @wraps(method)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        if _holds(given.get("logits_processor"), processor) and drops(given):
            raise InputError(NO_PLACE)
        return method(*args, **kwargs)

    setattr(owner, name, checked)


def _holds(given: Any, processor: type) -> bool:
    each = given if isinstance(given, Iterable) else [given]
    return any(isinstance(one, processor) for one in each)
