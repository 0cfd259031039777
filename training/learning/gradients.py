"""The gradient of a step: that of the mean over all positions of its batches, in all processes, however they are split.

The mean of the batches' means would weigh a position the more, the fewer others happen to share its batch.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from training.data.examples import Batch
from training.errors import DivergenceError
from training.learning.streams import Stream

LARGEST_NORM = 1.0  # of a gradient; a larger one is scaled down to it


@dataclass(frozen=True)
class Term:
    """A part of what is learnt: the mean of a loss over all positions of a step's batches, times a weight."""

    name: str
    stream: Stream  # of its own: no other term sees its batches
    loss: Callable[..., Tensor]  # (model, batch) -> [N], for the N positions at which the batch predicts
    weight: float = 1.0
    begins: float = 0.0  # behind this share of the steps; before that its stream is not drawn from


@dataclass(frozen=True)
class Measured:
    """A step, over all processes."""

    loss: float
    terms: dict[str, float]  # the mean of each over its positions, without its weight
    positions: dict[str, int]
    tokens: int  # with padding
    gradient_norm: float  # before clipping


def step_gradient(accelerator: Accelerator, model, terms: list[Term], batches: list[list[Batch]]) -> Measured:
    """Leaves the step's gradient, clipped, in the parameters; `batches[i]` are those that this process drew for term i.

    Raises:
        DivergenceError: a term or its gradient is NaN or infinite; in all processes at once.
    """
    counts = [[sum(int(b.predicts.sum()) for b in drawn), sum(b.tokens.numel() for b in drawn)] for drawn in batches]
    positions, tokens = accelerator.reduce(torch.tensor(counts, device=accelerator.device)).T.tolist()
    pairs = [(i, batch) for i, drawn in enumerate(batches) for batch in drawn]
    sums = torch.zeros(len(terms), dtype=torch.float64, device=accelerator.device)
    for number, (i, batch) in enumerate(pairs, start=1):
        # Processes add up their gradients once, behind the last batch.
        with nullcontext() if number == len(pairs) else accelerator.no_sync(model):
            part = terms[i].loss(model, batch).sum() / positions[i]
            accelerator.backward(part * (terms[i].weight * accelerator.num_processes))  # DDP takes their mean
        sums[i] += part.detach()
    means = accelerator.reduce(sums).tolist()
    for term, mean in zip(terms, means, strict=True):
        if not math.isfinite(mean):
            raise DivergenceError(f"{term.name} is {mean}")
    norm = accelerator.clip_grad_norm_(model.parameters(), LARGEST_NORM).item()
    if not math.isfinite(norm):
        raise DivergenceError(f"the gradient of {_culprits(accelerator, model, terms, batches)} is {norm}")
    names = [term.name for term in terms]
    return Measured(
        loss=sum(term.weight * mean for term, mean in zip(terms, means, strict=True)),
        terms=dict(zip(names, means, strict=True)),
        positions=dict(zip(names, positions, strict=True)),
        tokens=sum(tokens),
        gradient_norm=norm,
    )


def _culprits(accelerator: Accelerator, model, terms: list[Term], batches: list[list[Batch]]) -> str:
    """The terms whose gradient is not finite by itself, here; all, if it takes several to overflow."""
    found = []
    for term, drawn in zip(terms, batches, strict=True):
        model.zero_grad()
        with accelerator.no_sync(model):
            for batch in drawn:
                term.loss(model, batch).sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            found.append(term.name)
    return " and ".join(found or [term.name for term in terms])
