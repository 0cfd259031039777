"""The engines that users would otherwise pick, each driven in its best way by its own documentation.

Each is a `Peer` for one tokenizer; a peer compiles a schema or a regex to a `Matcher`, which reads one answer at a
time. `masks` fills one packed row before each token of the answer and one behind its end; `read` only follows.
Rows are handed in ready-made, so that no allocation is timed. One thread throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import fastmask as fm

Rows = npt.NDArray[np.int32]  # [T+1, ceil(V / 32)]


class Matcher(Protocol):
    """One compiled format, ready for one answer after another. Neither method looks whether a token is allowed."""

    def rows(self, memory: Rows) -> list[Any]:
        """Views of the rows in the form that `masks` wants."""

    def masks(self, answer: list[int], rows: Iterable[Any]) -> None: ...

    def read(self, answer: list[int]) -> bool:
        """Is this a complete answer?"""


class Peer(Protocol):
    name: str

    def __init__(self, tokenizer: Any) -> None: ...

    def schema(self, text: str) -> Matcher: ...

    def regex(self, regex: str) -> Matcher: ...

    @staticmethod
    def agrees(theirs: Rows, ours: Rows, vocabulary: fm.Vocabulary) -> bool:
        """Are these the masks of one language, as far as this peer follows the same rules?"""


# ---- outlines-core --------------------------------------------------------------------------------------


class OutlinesCore:
    name = "outlines-core"

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


class _GuideMatcher:
    def __init__(self, index: Any) -> None:
        from outlines_core import Guide
        from outlines_core.kernels.torch import fill_next_token_bitmask

        self.guide = Guide(index)
        self.fill = fill_next_token_bitmask

    def rows(self, memory: Rows) -> list[Any]:
        return _torch_rows(memory)

    def masks(self, answer: list[int], rows: Iterable[Any]) -> None:
        guide, fill = self.guide, self.fill
        guide.reset()
        following = iter(rows)
        for token, row in zip(answer, following):  # noqa: B905 - `following` keeps the row behind the end
            fill(guide, row)
            guide.advance(token, return_tokens=False)
        fill(guide, next(following))

    def read(self, answer: list[int]) -> bool:
        guide = self.guide
        guide.reset()
        for token in answer:
            guide.advance(token, return_tokens=False)
        return guide.is_finished()


# ---- xgrammar -------------------------------------------------------------------------------------------


class XGrammar:
    name = "xgrammar"

    def __init__(self, tokenizer: Any) -> None:
        import xgrammar

        self.info = xgrammar.TokenizerInfo.from_huggingface(tokenizer)

    @cached_property
    def compiler(self) -> Any:
        import xgrammar

        # Without its cache: compiling again is what is measured.
        return xgrammar.GrammarCompiler(self.info, cache_enabled=False)

    def schema(self, text: str) -> Matcher:
        return _GrammarMatcher(self.compile(text))

    def regex(self, regex: str) -> Matcher:
        return _GrammarMatcher(self.compiler.compile_regex(regex))

    def compile(self, schema: str) -> Any:
        return self.compiler.compile_json_schema(schema)

    @staticmethod
    def agrees(theirs: Rows, ours: Rows, vocabulary: fm.Vocabulary) -> bool:
        """It takes special tokens for their text, and ids past the vocabulary for anything."""
        return not np.any((theirs ^ ours) & _text_row(vocabulary, theirs.shape[1]))


class _GrammarMatcher:
    def __init__(self, grammar: Any) -> None:
        import xgrammar

        self.matcher = xgrammar.GrammarMatcher(grammar)

    def rows(self, memory: Rows) -> list[Any]:
        return _torch_rows(memory)

    def masks(self, answer: list[int], rows: Iterable[Any]) -> None:
        matcher = self.matcher
        matcher.reset()
        following = iter(rows)
        for token, row in zip(answer, following):  # noqa: B905
            matcher.fill_next_token_bitmask(row)
            matcher.accept_token(token)
        matcher.fill_next_token_bitmask(next(following))

    def read(self, answer: list[int]) -> bool:
        matcher = self.matcher
        matcher.reset()
        return all(map(matcher.accept_token, answer)) and matcher.is_completed()


# ---- llguidance -----------------------------------------------------------------------------------------


class LLGuidance:
    name = "llguidance"

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


class _LLMatcher:
    def __init__(self, tokenizer: Any, grammar: str) -> None:
        from llguidance import LLMatcher
        from llguidance.numpy import fill_next_token_bitmask

        self.matcher = LLMatcher(tokenizer, grammar)
        self.fill = fill_next_token_bitmask
        if self.matcher.is_error():
            raise ValueError(self.matcher.get_error())

    def rows(self, memory: Rows) -> list[Any]:
        return [row[None] for row in memory]

    def masks(self, answer: list[int], rows: Iterable[Any]) -> None:
        matcher, fill = self.matcher, self.fill
        matcher.reset()
        following = iter(rows)
        for token, row in zip(answer, following):  # noqa: B905
            fill(matcher, row)
            matcher.consume_token(token)
        fill(matcher, next(following))

    def read(self, answer: list[int]) -> bool:
        matcher = self.matcher
        matcher.reset()
        return matcher.consume_tokens(answer) and matcher.is_accepting()


class LLGuidanceDrafts(LLGuidance):
    """The whole answer as draft tokens: one call fills every row."""

    name = "llguidance, drafts"

    def _matcher(self, grammar: str) -> Matcher:
        return _LLDraftMatcher(self.tokenizer, grammar)


class _LLDraftMatcher(_LLMatcher):
    def __init__(self, tokenizer: Any, grammar: str) -> None:
        from llguidance import LLExecutor
        from llguidance.numpy import fill_next_token_bitmask_par_with_draft_tokens

        super().__init__(tokenizer, grammar)
        self.executor = LLExecutor(num_threads=1)
        self.fill = fill_next_token_bitmask_par_with_draft_tokens

    def rows(self, memory: Rows) -> list[Any]:
        return [memory]

    def masks(self, answer: list[int], rows: Iterable[Any]) -> None:
        (memory,) = rows
        self.matcher.reset()
        self.fill(self.executor, [(self.matcher, 0, answer)], memory)


# ---- all of them ----------------------------------------------------------------------------------------

_NEEDS: dict[type[Peer], list[str]] = {
    OutlinesCore: ["outlines_core", "torch"],  # its bitmask kernel needs torch
    XGrammar: ["xgrammar"],
    LLGuidance: ["llguidance"],
    LLGuidanceDrafts: ["llguidance"],
}


def installed(note: Callable[[str], None]) -> list[type[Peer]]:
    """The peers that can be imported here; the others are noted."""
    found = []
    for peer, needs in _NEEDS.items():
        missing = [package for package in needs if find_spec(package) is None]
        if missing:
            note(f"{peer.name} skipped: {', '.join(missing)} not installed")
        else:
            found.append(peer)
    return found


def _torch_rows(memory: Rows) -> list[Any]:
    import torch

    return list(torch.from_numpy(memory)[:, None])


def _text_row(vocabulary: fm.Vocabulary, words: int) -> npt.NDArray[np.int32]:
    """The ids that are text, as a packed row."""
    bits = np.zeros(words * 32, np.bool_)
    bits[: vocabulary.size] = [token is not None for token in vocabulary.tokens]
    return np.packbits(bits, bitorder="little").view(np.int32)
