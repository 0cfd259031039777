"""outlines-core: an `Index` of all states and tokens, made beforehand, and a `Guide` that steps along it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import fastmask as fm
from benchmarks.packed import Rows
from benchmarks.peers.single import Matcher, Peer, SteppedMatcher, torch_rows


class OutlinesCore(Peer):
    name = "outlines-core"
    needs = ("outlines_core", "torch")  # its bitmask kernel needs torch
    accepts_alone = True
    by_regex = True
    compared = None

    def __init__(self, tokenizer: Any) -> None:
        from outlines_core import Vocabulary

        # outlines-core reads tokenizers from the hub only; the bytes of the tokens are the same for both engines.
        ids: dict[bytes, list[int]] = {}
        for token_id, token in enumerate(fm.Vocabulary.from_tokenizer(tokenizer).tokens):
            if token:
                ids.setdefault(token, []).append(token_id)
        self.vocabulary = Vocabulary(tokenizer.eos_token_id, ids)

    def schema(self, text: str) -> Matcher:
        from outlines_core.json_schema import build_regex_from_schema

        return self.regex(build_regex_from_schema(text))

    def regex(self, regex: str) -> Matcher:
        return _GuideMatcher(self.index(regex))

    def index(self, regex: str) -> Any:
        from outlines_core import Index

        return Index(regex, self.vocabulary)

    @staticmethod
    def agrees(theirs: Rows, ours: Rows, vocabulary: fm.Vocabulary) -> bool:
        return np.array_equal(theirs, ours)


class _GuideMatcher(SteppedMatcher):
    def __init__(self, index: Any) -> None:
        from outlines_core import Guide
        from outlines_core.kernels.torch import fill_next_token_bitmask

        self.guide = Guide(index)
        self.reset = self.guide.reset
        self.fill = partial(fill_next_token_bitmask, self.guide)
        self.accept = partial(self.guide.advance, return_tokens=False)

    def rows(self, memory: Rows) -> list[Any]:
        return torch_rows(memory)

    def read(self, answer: list[int]) -> bool:
        guide = self.guide
        guide.reset()
        try:
            for token in answer:
                guide.advance(token, return_tokens=False)
        except ValueError:  # its word for a token that is not allowed
            return False
        return guide.is_finished()
