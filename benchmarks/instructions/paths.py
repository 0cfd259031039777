"""The kernel's hot paths. Little else is imported: a simulated processor takes fifty times as long for everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import fastmask as fm
from benchmarks.packed import words_for

ROWS = 512  # packed rows of a call
LOSS_ROWS = 16  # rows of logits of a step


@dataclass(frozen=True)
class Inputs:
    """A workload, ready to be unpickled."""

    name: str
    schema: str
    vocabulary: fm.Vocabulary
    tokens: npt.NDArray[np.int64]  # [B, T]
    lengths: npt.NDArray[np.int64]  # [B]

    def constraint(self) -> fm.Constraint:
        return fm.Constraint.from_schema(self.schema, self.vocabulary)

    def states(self, con: fm.Constraint, count: int) -> npt.NDArray[np.int32]:
        """``count`` states in the order in which the answers meet them."""
        walked = con.walk(self.tokens, lengths=self.lengths)
        return np.resize(walked[np.arange(walked.shape[1]) < self.lengths[:, None]], count)


class Work(NamedTuple):
    run: Callable[[], object]
    units: int  # of work in one run


class HotPath(NamedTuple):
    """A hot path. ``repeats`` of it are many more instructions than one process differs from the next by."""

    prepare: Callable[[Inputs], Work]
    unit: str
    repeats: int


def walk(inputs: Inputs) -> Work:
    con = inputs.constraint()
    return Work(lambda: con.walk(inputs.tokens, lengths=inputs.lengths), int(inputs.lengths.sum()))


def packed_rows(inputs: Inputs) -> Work:
    con = inputs.constraint()
    states = inputs.states(con, ROWS)
    out = np.ones((ROWS, words_for(con.vocab_size)), np.int32)
    return Work(lambda: con.bitmask(states, out=out), ROWS)


def compile_schema(inputs: Inputs) -> Work:
    return Work(inputs.constraint, 1)


def vocabulary(inputs: Inputs) -> Work:
    tokens, eos = inputs.vocabulary.tokens, inputs.vocabulary.eos_token_ids
    return Work(lambda: fm.Vocabulary(tokens, eos).core, len(tokens))


def constrained_kl(inputs: Inputs) -> Work:
    import torch

    import fastmask.torch as fmt

    torch.set_num_threads(1)
    con = inputs.constraint()
    states = torch.from_numpy(inputs.states(con, LOSS_ROWS))
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(LOSS_ROWS, con.vocab_size, generator=draw) * 3 for _ in range(2))
    student.requires_grad_()

    def step() -> None:
        student.grad = None
        fmt.constrained_kl(student, teacher, states, con, penalty=10.0, engine="fused").mean().backward()

    return Work(step, student.numel())


PATHS = {
    "walk": HotPath(walk, "token", 20),
    "packed rows": HotPath(packed_rows, "row", 100),
    "schema to constraint": HotPath(compile_schema, "schema", 20),
    "vocabulary and trie": HotPath(vocabulary, "token", 1),
    "constrained_kl, forward and backward": HotPath(constrained_kl, "element", 10),
}
