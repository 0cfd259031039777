"""Streams: endless batches that can be left behind any batch and taken up again there, bit for bit.

The loop draws a batch from every stream in every step, writes down where the streams stand with each checkpoint, and
puts them back there when a training that was killed goes on. Among several processes each has streams of its own, and
no two of them give the same batch.
"""

import hashlib
import random
from collections.abc import Iterable
from typing import Any, Protocol

from training.data.examples import Batch, Example, collate, groups_by_length
from training.errors import TrainingError
from training.learning.processes import processes


class Stream(Protocol):
    """What a stream must have; none needs to inherit from this.

    A stream may also draw from torch's, numpy's and Python's global generators: those are in every checkpoint.
    """

    fingerprint: str  # of all that it draws from: examples, seed, sizes; with another one a checkpoint does not fit

    def __next__(self) -> Batch: ...

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, as numbers, strings, tensors, and lists, tuples and dicts of those."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there: the next batch is the one that would have come then."""


class EndlessBatches:
    """Pass after pass, each visiting every example once, in an order that only the seed decides.

    Of several processes each takes every so many-th batch of this one order. All of them stand at the same place.
    """

    def __init__(self, examples: list[Example], con, tokens_per_batch: int, seed: int, device="cpu") -> None:
        if not examples:
            raise TrainingError("no examples to train on")
        self.examples, self.con, self.tokens_per_batch, self.device = examples, con, tokens_per_batch, device
        self.fingerprint = fingerprint(examples, tokens_per_batch, seed)
        self.rng = random.Random(seed)
        self._begin_pass()

    def __iter__(self) -> "EndlessBatches":
        return self

    def __next__(self) -> Batch:
        here = processes()
        groups = [self._next_group() for _ in range(here.num_processes)]
        return collate(groups[here.process_index], self.con, self.device)

    def state_dict(self) -> dict[str, Any]:
        return {"before_pass": self.before_pass, "served": self.served}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.setstate(state["before_pass"])
        self._begin_pass()
        self.served = state["served"]

    def _begin_pass(self) -> None:
        self.before_pass = self.rng.getstate()  # from which the groups of this pass can be made again
        self.groups = groups_by_length(self.examples, self.tokens_per_batch, self.rng)
        self.rng.shuffle(self.groups)
        self.served = 0

    def _next_group(self) -> list[Example]:
        if self.served == len(self.groups):
            self._begin_pass()
        self.served += 1
        return self.groups[self.served - 1]


def fingerprint(examples: Iterable[Example], *settings: object) -> str:
    """Of examples and settings: equal if they are, and otherwise different."""
    digest = hashlib.sha256(repr(settings).encode())
    for example in examples:
        digest.update(repr((example.start, example.tokens)).encode())
    return digest.hexdigest()[:16]
