"""States and masks for texts by the batch and for whole corpora."""

from fastmask.corpus.texts import TextMasks, mask_texts

__all__ = ["TextMasks", "mask_texts"]
