"""States and masks for texts by the batch and for whole corpora.

:func:`mask_texts` needs a tokenizer alone; everything else needs the extra ``corpus`` (pyarrow), and
:class:`ConstraintCollator` torch. They are loaded when first asked for. ``fastmask.corpus.ray`` needs Ray, and is
imported by its own name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastmask.corpus.texts import TextMasks, mask_texts
from fastmask.extras import naming_extras

if TYPE_CHECKING:
    from fastmask.corpus.annotator import Annotator
    from fastmask.corpus.collate import ConstraintCollator
    from fastmask.corpus.columns import Columns
    from fastmask.corpus.constraints import Constraints
    from fastmask.corpus.datasets import annotate
    from fastmask.corpus.mask_file import write_masks
    from fastmask.corpus.records import Place, Problem, RecordReader, Records, read_records
    from fastmask.corpus.report import write_report
    from fastmask.corpus.shards import write_shards
    from fastmask.corpus.summary import Summary

_ROOM_OF = {
    "Annotator": "annotator",
    "Columns": "columns",
    "ConstraintCollator": "collate",
    "Constraints": "constraints",
    "Place": "records",
    "Problem": "records",
    "RecordReader": "records",
    "Records": "records",
    "Summary": "summary",
    "annotate": "datasets",
    "read_records": "records",
    "write_masks": "mask_file",
    "write_report": "report",
    "write_shards": "shards",
}

__all__ = [
    "Annotator",
    "Columns",
    "ConstraintCollator",
    "Constraints",
    "Place",
    "Problem",
    "RecordReader",
    "Records",
    "Summary",
    "TextMasks",
    "annotate",
    "mask_texts",
    "read_records",
    "write_masks",
    "write_report",
    "write_shards",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with naming_extras():
        return getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
