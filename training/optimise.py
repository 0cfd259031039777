"""The one training loop: AdamW, warm-up and cosine, clipped gradients, a progress bar, and a look now and then."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from training.errors import DivergenceError
from training.examples import Batch
from training.streams import Stream

LOOKS = 12  # how many times a run looks at the held-out answers


@dataclass(frozen=True)
class Term:
    """A part of what is learnt: the mean of a loss over all positions of a step's batches, times a weight."""

    name: str
    stream: Stream  # of its own: each term sees batches that no other term sees
    loss: Callable[..., Tensor]  # (model, batch) -> [N], for the N positions at which the batch predicts
    weight: float = 1.0


def train(
    model,
    terms: list[Term],
    look: Callable[[], dict[str, float]],
    *,
    steps: int,
    learning_rate: float,
    title: str,
) -> list[dict[str, float]]:
    """`steps` steps on all terms; returns what `look` saw, with the step and the training loss up to there."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, steps))
    history, recent = [], []
    bar = tqdm(range(1, steps + 1), desc=title, unit="step", dynamic_ncols=True)
    for step in bar:
        batches: list[Batch] = [next(term.stream) for term in terms]
        model.train()
        loss = sum(term.weight * term.loss(model, batch).mean() for term, batch in zip(terms, batches, strict=True))
        if not torch.isfinite(loss):
            raise DivergenceError(f"{title}: the loss is {loss.item()} at step {step}; lower the learning rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        recent.append(loss.item())
        if step % math.ceil(steps / LOOKS) == 0 or step in (1, steps):
            history.append({"step": step, "training_loss": sum(recent) / len(recent), **look()})
            bar.set_postfix({key: f"{value:.3f}" for key, value in history[-1].items() if key != "step"})
            recent = []
    return history


def warm_cosine(step: int, steps: int) -> float:
    """The share of the full learning rate: up over the first twentieth, then down to a tenth."""
    warm = max(1, steps // 20)
    return min((step + 1) / warm, 0.55 + 0.45 * math.cos(math.pi * step / steps))
