"""lm-format-enforcer: a parser of characters, run along a trie of the tokens' texts wherever no mask is cached yet."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

import fastmask as fm
from benchmarks.packed import Rows
from benchmarks.peers.single import Matcher, Peer, SteppedMatcher, ends, row_of


class LMFormatEnforcer(Peer):
    name = "lm-format-enforcer"
    needs = ("lmformatenforcer", "torch")  # its bitmasks are tensors
    accepts_alone = False
    by_regex = False
    compared = 4  # by a regex, a position with half of the vocabulary takes it ten seconds until its cache knows it

    def __init__(self, tokenizer: Any) -> None:
        # Of an array without a bound it allows 20 items, and takes more from the environment alone.
        os.environ["LMFE_MAX_JSON_ARRAY_LENGTH"] = "100000"
        self.data = tokenizer_data(tokenizer)

    def schema(self, text: str) -> Matcher:
        from lmformatenforcer import JsonSchemaParser

        return _EnforcerMatcher(self.data, JsonSchemaParser(json.loads(text)))

    def regex(self, regex: str) -> Matcher:
        from lmformatenforcer import RegexParser

        return _EnforcerMatcher(self.data, RegexParser(regex))

    @staticmethod
    def agrees(theirs: Rows, ours: Rows, vocabulary: fm.Vocabulary) -> bool:
        """It knows no characters but those that are a token by themselves, and no parts of them."""
        ascii_text = row_of((token is not None and token.isascii() for token in vocabulary.tokens), theirs.shape[1])
        return not np.any((theirs ^ ours) & (ascii_text | ends(vocabulary, theirs.shape[1])))


def tokenizer_data(tokenizer: Any) -> Any:
    """As its integration for transformers makes it, which cannot be imported beside transformers 5."""
    from lmformatenforcer import TokenEnforcerTokenizerData

    special = set(tokenizer.all_special_ids)
    ids = [token for token in range(len(tokenizer)) if token not in special]
    zero = tokenizer.encode("0", add_special_tokens=False)[-1]
    behind_zero = tokenizer.batch_decode([[zero, token] for token in ids])
    alone = tokenizer.batch_decode([[token] for token in ids])
    tokens = [
        (token, text[1:], len(text[1:]) > len(bare)) for token, text, bare in zip(ids, behind_zero, alone, strict=True)
    ]
    return TokenEnforcerTokenizerData(
        tokens, lambda ids: tokenizer.decode(ids).rstrip("\ufffd"), tokenizer.eos_token_id, True, len(tokenizer)
    )


class _EnforcerMatcher(SteppedMatcher):
    """A mask is asked for by all tokens so far. So `fill` reads the last one too, and `accept` only writes it down."""

    def __init__(self, data: Any, parser: Any) -> None:
        from lmformatenforcer import TokenEnforcer

        self.enforcer = TokenEnforcer(data, parser)
        self.tokens: list[int] = []
        self.accept = self.tokens.append

    def reset(self) -> None:
        """What it remembers of this very text is forgotten; its masks, by the parser's states, are kept."""
        self.enforcer.prefix_states.clear()
        self.tokens.clear()

    def fill(self, row: Any) -> None:
        row.copy_(self.enforcer.get_allowed_tokens(self.tokens).allowed_tokens)

    def rows(self, memory: Rows) -> list[Any]:
        import torch

        return list(torch.from_numpy(memory))

    def read(self, answer: list[int]) -> bool:
        self.reset()
        for token in answer:
            if not self.enforcer.get_allowed_tokens(self.tokens).is_token_allowed(token):
                return False
            self.accept(token)
        return bool(self.enforcer.get_allowed_tokens(self.tokens).is_token_allowed(self.enforcer.eos_token_id))
