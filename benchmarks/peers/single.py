"""What the groups know of an engine that reads one answer at a time.

Each is a `Peer` for one tokenizer; a peer compiles a schema or a regex to a `Matcher`, which reads one answer after
another. Rows are handed in ready-made, so that no allocation is timed. One thread throughout.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

import fastmask as fm
from benchmarks.packed import Rows


class Matcher(Protocol):
    """One compiled format, ready for one answer after another. Only `read` looks whether tokens are allowed."""

    def rows(self, memory: Rows) -> list[Any]:
        """Views of the rows in the form that `masks` wants."""

    def masks(self, answer: list[int], rows: Iterable[Any]) -> None:
        """Fill one packed row before each token of the answer and one behind its end."""

    def read(self, answer: list[int]) -> bool:
        """Is this a complete answer, token by token?"""


class SteppedMatcher(ABC):
    """A `Matcher` that is stepped by its user: a mask, a token, a mask, a token."""

    reset: Callable[[], object]
    fill: Callable[[Any], object]  # one of the `rows`
    accept: Callable[[int], object]

    @abstractmethod
    def rows(self, memory: Rows) -> list[Any]: ...

    @abstractmethod
    def read(self, answer: list[int]) -> bool: ...

    def masks(self, answer: list[int], rows: Iterable[Any]) -> None:
        fill, accept, following = self.fill, self.accept, iter(rows)
        self.reset()
        for token, row in zip(answer, following):  # noqa: B905 - `following` keeps the row behind the end
            fill(row)
            accept(token)
        fill(next(following))

    def fill_times(self, answer: list[int], row: Any) -> list[int]:
        """Nanoseconds of each `fill` along an answer, one Python call included."""
        fill, accept, clock, times = self.fill, self.accept, time.perf_counter_ns, []
        self.reset()
        for token in answer:
            begin = clock()
            fill(row)
            times.append(clock() - begin)
            accept(token)
        return times


class Peer(Protocol):
    name: str
    needs: tuple[str, ...]  # packages
    accepts_alone: bool  # can it follow an answer without making masks?
    by_regex: bool  # does it make a regex of a schema, the very one that fastmask reads?
    compared: int | None  # tokens of one answer whose masks are compared with fastmask's; None = whole answers

    def __init__(self, tokenizer: Any) -> None: ...

    def schema(self, text: str) -> Matcher: ...

    def regex(self, regex: str) -> Matcher: ...

    @staticmethod
    def agrees(theirs: Rows, ours: Rows, vocabulary: fm.Vocabulary) -> bool:
        """Are these the masks of one language, as far as this peer follows the same rules?"""


def torch_rows(memory: Rows) -> list[Any]:
    import torch

    return list(torch.from_numpy(memory)[:, None])


def ends(vocabulary: fm.Vocabulary, words: int) -> Rows:
    """The packed row of the tokens that end a text, which are no text themselves."""
    return row_of((token in vocabulary.eos_token_ids for token in range(vocabulary.size)), words)


def row_of(allowed: Iterable[bool], words: int) -> Rows:
    """The packed row of these tokens, [words]."""
    bits = np.zeros(words * 32, np.bool_)
    chosen = list(allowed)
    bits[: len(chosen)] = chosen
    return np.packbits(bits, bitorder="little").view(np.int32)
