"""llguidance: an Earley parser over lexemes, which finds a mask when it is asked for one, along a token trie."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import fastmask as fm
from benchmarks.peers.single import Matcher, Peer, Rows, SteppedMatcher


class LLGuidance(Peer):
    name = "llguidance"
    needs: tuple[str, ...] = ("llguidance",)
    accepts_alone = True
    by_regex = False
    compared = None

    def __init__(self, tokenizer: Any) -> None:
        import llguidance.hf

        self.tokenizer = llguidance.hf.from_tokenizer(tokenizer)

    def schema(self, text: str) -> Matcher:
        from llguidance import LLMatcher

        return self._matcher(LLMatcher.grammar_from_json_schema(text))

    def regex(self, regex: str) -> Matcher:
        from llguidance import LLMatcher

        return self._matcher(LLMatcher.grammar_from_regex(regex))

    def _matcher(self, grammar: str) -> Matcher:
        return _LLMatcher(self.tokenizer, grammar)

    @staticmethod
    def agrees(theirs: Rows, ours: Rows, vocabulary: fm.Vocabulary) -> bool:
        """Where the text is forced, it allows only the token that its tokenizer would choose."""
        return not np.any(theirs & ~ours)


class _LLMatcher(SteppedMatcher):
    def __init__(self, tokenizer: Any, grammar: str) -> None:
        from llguidance import LLMatcher
        from llguidance.numpy import fill_next_token_bitmask

        self.matcher = LLMatcher(tokenizer, grammar)
        if self.matcher.is_error():
            raise ValueError(self.matcher.get_error())
        self.reset = self.matcher.reset
        self.fill = partial(fill_next_token_bitmask, self.matcher)
        self.accept = self.matcher.consume_token

    def rows(self, memory: Rows) -> list[Any]:
        return [row[None] for row in memory]

    def read(self, answer: list[int]) -> bool:
        matcher = self.matcher
        matcher.reset()
        return matcher.consume_tokens(answer) and matcher.is_accepting()


class LLGuidanceDrafts(LLGuidance):
    """The whole answer as draft tokens: one call fills every row."""

    name = "llguidance, drafts"

    def _matcher(self, grammar: str) -> Matcher:
        return _LLDraftMatcher(self.tokenizer, grammar)


class _LLDraftMatcher:
    def __init__(self, tokenizer: Any, grammar: str) -> None:
        from llguidance import LLExecutor
        from llguidance.numpy import fill_next_token_bitmask_par_with_draft_tokens

        self.stepped = _LLMatcher(tokenizer, grammar)
        self.read = self.stepped.read
        self.executor = LLExecutor(num_threads=1)
        self.fill_all = fill_next_token_bitmask_par_with_draft_tokens

    def rows(self, memory: Rows) -> list[Any]:
        return [memory]

    def masks(self, answer: list[int], rows: Any) -> None:
        (memory,) = rows
        matcher = self.stepped.matcher
        matcher.reset()
        self.fill_all(self.executor, [(matcher, 0, answer)], memory)
