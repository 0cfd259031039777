"""llguidance: an Earley parser over lexemes, which finds a mask when it is asked for one, along a token trie."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import fastmask as fm
from benchmarks.packed import Rows
from benchmarks.peers.single import Matcher, Peer, SteppedMatcher


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
        """Where the text is forced, it allows only the token that its tokenizer would choose: one of ours."""
        other = (theirs != ours).any(axis=1)
        tokens = np.bitwise_count(theirs[other].view(np.uint32)).sum(axis=1)
        return not np.any(theirs & ~ours) and bool((tokens == 1).all())


class _LLMatcher(SteppedMatcher):
    def __init__(self, tokenizer: Any, grammar: str) -> None:
        self.begin = partial(self._begin, tokenizer, grammar)
        self.begin()
        if self.matcher.is_error():
            raise ValueError(self.matcher.get_error())

    def _begin(self, tokenizer: Any, grammar: str) -> None:
        from llguidance import LLMatcher
        from llguidance.numpy import fill_next_token_bitmask

        self.matcher = LLMatcher(tokenizer, grammar)
        self.reset = self.matcher.reset
        self.fill = partial(fill_next_token_bitmask, self.matcher)
        self.accept = self.matcher.consume_token

    def rows(self, memory: Rows) -> list[Any]:
        return [row[None] for row in memory]

    def read(self, answer: list[int]) -> bool:
        matcher = self.matcher
        matcher.reset()
        if matcher.consume_tokens(answer):
            return matcher.is_accepting()
        self.begin()  # no reset leads out of a refusal
        return False


class LLGuidanceDrafts(LLGuidance):
    """The whole answer as draft tokens: one call fills every row."""

    name = "llguidance, drafts"
    accepts_alone = False  # by the very calls of LLGuidance, which has a line for them

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
