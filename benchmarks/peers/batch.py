"""The engines that follow whole batches of answers in step, each by its own batched calls.

A `BatchMatcher` reads a rectangle of tokens [B, T]: at each step one mask a row is filled, then each row's token
accepted. `states` is all that: what they have to do to know where each row stands and what it allows.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import fastmask as fm
from benchmarks.packed import Rows, are_allowed
from benchmarks.peers.llguidance import LLGuidance
from benchmarks.peers.xgrammar import XGrammar


class BatchMatcher(Protocol):
    name: str
    needs: tuple[str, ...]  # packages

    def __init__(self, engine: Any, schema: str, rows: int, threads: int) -> None: ...

    def follow(self, tokens: npt.NDArray[np.int64], masks: Rows) -> bool:
        """Fill ``masks`` before each column of ``tokens`` [B, T] and accept it. Was every token accepted?"""


class XGrammarBatch(BatchMatcher):
    name = "xgrammar, BatchGrammarMatcher"
    needs = XGrammar.needs

    def __init__(self, engine: XGrammar, schema: str, rows: int, threads: int) -> None:
        import xgrammar

        grammar = engine.compile(schema)
        self.matchers = [xgrammar.GrammarMatcher(grammar) for _ in range(rows)]
        self.batch = xgrammar.BatchGrammarMatcher(max_threads=threads)

    def follow(self, tokens: npt.NDArray[np.int64], masks: Rows) -> bool:
        import torch

        for matcher in self.matchers:
            matcher.reset()
        memory, accepted = torch.from_numpy(masks), True
        for column in tokens.T.tolist():
            self.batch.batch_fill_next_token_bitmask(self.matchers, memory)
            accepted &= all(self.batch.batch_accept_token(self.matchers, column))
        return accepted


class LLGuidanceBatch(BatchMatcher):
    name = "llguidance, fill and consume in parallel"
    needs = LLGuidance.needs

    def __init__(self, engine: LLGuidance, schema: str, rows: int, threads: int) -> None:
        from llguidance import LLExecutor, LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(schema)
        self.matchers = [(LLMatcher(engine.tokenizer, grammar), row) for row in range(rows)]
        self.executor = LLExecutor(num_threads=threads)

    def follow(self, tokens: npt.NDArray[np.int64], masks: Rows) -> bool:
        from llguidance.numpy import consume_token_par, fill_next_token_bitmask_par

        for matcher, _ in self.matchers:
            matcher.reset()
        accepted = True
        for column in tokens.T.tolist():
            fill_next_token_bitmask_par(self.executor, self.matchers, masks)
            pairs = [(matcher, token) for (matcher, _), token in zip(self.matchers, column, strict=True)]
            accepted &= all(consume_token_par(self.executor, pairs))
        return accepted


def require_followed(matcher: BatchMatcher, tokens: npt.NDArray[np.int64], masks: Rows) -> None:
    """Every token was accepted, and the last column's masks allow it and not everything."""
    masks[:] = 0
    if not matcher.follow(tokens, masks):
        raise AssertionError(f"{matcher.name} refuses a token of an answer")
    last = tokens[:, -1]
    if not are_allowed(last, masks).all() or (masks[:, :-1] == -1).all(1).any():
        raise AssertionError(f"{matcher.name} has other masks than those of its last tokens")


#: Each with the engine that its matchers are made by.
BATCHES = {XGrammarBatch: XGrammar, LLGuidanceBatch: LLGuidance}


def fastmask_rows(con: fm.Constraint, tokens: npt.NDArray[np.int64], masks: Rows) -> None:
    """What `follow` does, with every mask of a column written in turn to the same memory, as the peers do."""
    states = con.walk(tokens)
    before = np.concatenate([np.full((len(tokens), 1), con.initial_state, np.int32), states[:, :-1]], axis=1)
    for column in np.ascontiguousarray(before.T):
        con.bitmask(column, out=masks)
