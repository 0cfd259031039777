"""The peers' logits processors, called as transformers' `generate` calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from benchmarks.peers.entrants import engine
from benchmarks.peers.xgrammar import XGrammar

Processor = Callable[[Tensor, Tensor], Tensor]


class ProcessorMaker(Protocol):
    """A compiled schema, which makes a processor for each call of `generate`."""

    name: str
    needs: tuple[str, ...]  # packages

    def __init__(self, tokenizer: Any, schema: str) -> None: ...

    def __call__(self) -> Processor: ...


class XGrammarProcessor(ProcessorMaker):
    name = "xgrammar, contrib.hf.LogitsProcessor"
    needs = XGrammar.needs

    def __init__(self, tokenizer: Any, schema: str) -> None:
        self.grammar = engine(XGrammar, tokenizer).compile(schema)

    def __call__(self) -> Processor:
        from xgrammar.contrib.hf import LogitsProcessor

        return LogitsProcessor(self.grammar)


class OutlinesProcessor(ProcessorMaker):
    """As the article has it: `outlines` over outlines-core. One processor for all, reset by each generation."""

    name = "outlines, its processor over outlines-core"
    needs = ("outlines",)

    def __init__(self, tokenizer: Any, schema: str) -> None:
        import outlines
        from outlines.backends import get_json_schema_logits_processor
        from torch import _dynamo
        from transformers import GPT2Config, GPT2LMHeadModel

        # The model says which tensors are used, and nothing else.
        model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=1))
        quiet = _dynamo.config.suppress_errors
        outlined = outlines.from_transformers(model, tokenizer)
        self.processor = get_json_schema_logits_processor("outlines_core", outlined, schema)
        _dynamo.config.suppress_errors = quiet  # it would hide from other groups that torch.compile failed

    def __call__(self) -> Processor:
        self.processor.reset()
        return self.processor


PROCESSORS: tuple[type[ProcessorMaker], ...] = (XGrammarProcessor, OutlinesProcessor)
