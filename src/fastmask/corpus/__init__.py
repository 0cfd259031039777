"""States and masks for texts by the batch and for whole corpora.

:func:`mask_texts` needs a tokenizer alone; :func:`write_report` needs jinja2, everything else pyarrow,
:class:`ConstraintCollator` torch. They are loaded when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastmask.corpus.texts import TextMasks, mask_texts

if TYPE_CHECKING:
    from fastmask.corpus.annotator import Annotator
    from fastmask.corpus.collate import ConstraintCollator
    from fastmask.corpus.columns import Columns
    from fastmask.corpus.constraints import Constraints
    from fastmask.corpus.datasets import annotate
    from fastmask.corpus.mask_file import write_masks
    from fastmask.corpus.report import write_report

__all__ = [
    "Annotator",
    "Columns",
    "ConstraintCollator",
    "Constraints",
    "TextMasks",
    "annotate",
    "mask_texts",
    "write_masks",
    "write_report",
]

_ROOM_OF = {
    "Annotator": "annotator",
    "Columns": "columns",
    "ConstraintCollator": "collate",
    "Constraints": "constraints",
    "annotate": "datasets",
    "write_masks": "mask_file",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
