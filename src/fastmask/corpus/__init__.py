"""States and masks for texts by the batch and for whole corpora. Needs the extra ``corpus``."""

from fastmask.corpus.records import Place, Problem, RecordReader, Records, read_records
from fastmask.corpus.shards import write_shards
from fastmask.corpus.summary import Summary
from fastmask.corpus.texts import TextMasks, mask_texts

__all__ = [
    "Place",
    "Problem",
    "RecordReader",
    "Records",
    "Summary",
    "TextMasks",
    "mask_texts",
    "read_records",
    "write_shards",
]
