"""xgrammar: a pushdown automaton compiled for a vocabulary, with the masks of most states made beforehand."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

import fastmask as fm
from benchmarks.packed import Rows
from benchmarks.peers.single import Matcher, Peer, SteppedMatcher, ends, row_of, torch_rows


class XGrammar(Peer):
    name = "xgrammar"
    needs = ("xgrammar",)
    accepts_alone = True
    by_regex = False
    compared = None

    def __init__(self, tokenizer: Any) -> None:
        import xgrammar

        self.info = xgrammar.TokenizerInfo.from_huggingface(tokenizer)

    @cached_property
    def compiler(self) -> Any:
        import xgrammar

        # Without its cache: compiling again is what is measured.
        return xgrammar.GrammarCompiler(self.info, cache_enabled=False)

    def schema(self, text: str) -> Matcher:
        return GrammarMatcher(self.compile(text))

    def regex(self, regex: str) -> Matcher:
        return GrammarMatcher(self.compiler.compile_regex(regex))

    def compile(self, schema: str) -> Any:
        return self.compiler.compile_json_schema(schema)

    @staticmethod
    def agrees(theirs: Rows, ours: Rows, vocabulary: fm.Vocabulary) -> bool:
        """It takes special tokens for their text, and ids past the vocabulary for anything."""
        text = row_of((token is not None for token in vocabulary.tokens), theirs.shape[1])
        return not np.any((theirs ^ ours) & (text | ends(vocabulary, theirs.shape[1])))


class DraftTree(NamedTuple):
    """A tree of draft tokens in xgrammar's form: int64 tensors [N], -1 where there is none."""

    tokens: Any
    first_child: Any
    next_sibling: Any

    @classmethod
    def of(cls, *columns: Any) -> DraftTree:
        import torch

        return cls(*(torch.tensor(column, dtype=torch.int64) for column in columns))


class GrammarMatcher(SteppedMatcher):
    def __init__(self, grammar: Any) -> None:
        import xgrammar

        self.matcher = xgrammar.GrammarMatcher(grammar)
        self.reset = self.matcher.reset
        self.fill = self.matcher.fill_next_token_bitmask
        self.accept = self.matcher.accept_token

    def rows(self, memory: Rows) -> list[Any]:
        return torch_rows(memory)

    def read(self, answer: list[int]) -> bool:
        matcher = self.matcher
        matcher.reset()
        return all(map(matcher.accept_token, answer)) and matcher.is_completed()

    def behind(self, prefix: list[int]) -> GrammarMatcher:
        """The same, where it stands once these tokens were accepted."""
        self.matcher.reset()
        if not all(map(self.matcher.accept_token, prefix)):
            raise AssertionError("xgrammar refuses the text before a tree")
        return self

    def tree_masks(self, tree: DraftTree, memory: Any) -> None:
        """A mask behind every node; node 0 was accepted before."""
        self.matcher.traverse_draft_tree(tree.first_child, tree.next_sibling, tree.tokens, memory)
