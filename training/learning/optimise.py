"""The one training loop: AdamW, warm-up and cosine, clipped gradients, a progress bar, and a look now and then.

It runs in one process, or in many under `accelerate launch` and `torchrun`.
"""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from training.errors import DivergenceError, StoppedError, TrainingError
from training.learning.checkpoints import Checkpoints
from training.learning.gradients import Term, step_gradient
from training.learning.metrics import Metrics
from training.learning.processes import new_accelerator
from training.learning.stopping import stop_signals

LOOKS = 12  # how many times a run looks at the held-out answers


@dataclass
class Progress:
    """How far a training has come, and what it saw on the way."""

    step: int = 0  # steps taken
    history: list[dict[str, float]] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)  # training losses since the last look

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def look(self, scores: dict[str, float]) -> None:
        self.history.append({"step": self.step, "training_loss": sum(self.recent) / len(self.recent), **scores})
        self.recent = []


def train(
    model,
    terms: list[Term],
    look: Callable[[], dict[str, float]],
    *,
    steps: int,
    learning_rate: float,
    title: str,
    accumulate: int = 1,
    metrics: Path | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[dict[str, float]]:
    """`steps` steps on all terms; returns what `look` saw, with the step and the training loss up to there.

    In every step each process draws `accumulate` batches for each term. `metrics` gets a line a step. With
    `checkpoints` it goes on from the newest of them, and answers a signal to stop when it has written one more.

    Raises:
        DivergenceError: a term or its gradient is NaN or infinite; names it and the step.
        TrainingError: the checkpoint is of another configuration; mixed precision by float16.
        StoppedError: a signal asked for it, and there is a checkpoint.
    """
    training = _Training(model, terms, steps, learning_rate, accumulate)
    accelerator, progress = training.accelerator, training.progress
    if checkpoints:
        checkpoints.restore(accelerator, training.streams)
    main = accelerator.is_main_process
    with ExitStack() as stack:
        stack.callback(training.finish)
        signal = stack.enter_context(stop_signals()) if checkpoints else lambda: 0
        lines = stack.enter_context(closing(Metrics(metrics, progress.step))) if metrics and main else None
        bar = stack.enter_context(
            tqdm(desc=title, unit="step", total=steps, initial=progress.step, dynamic_ncols=True, disable=not main)
        )
        while progress.step < steps:
            line = training.step(title)
            if progress.step % math.ceil(steps / LOOKS) == 0 or progress.step in (1, steps):
                line["scores"] = look() if main else {}
                progress.look(line["scores"])
                bar.set_postfix({key: f"{value:.3f}" for key, value in progress.history[-1].items() if key != "step"})
            if lines:
                lines.write(line)
            bar.update()
            stop = training.any_process(signal())
            if checkpoints and (checkpoints.due(progress.step) or stop):
                checkpoints.save(progress.step, accelerator, training.streams)
            if stop and progress.step < steps:
                raise StoppedError(
                    f"{title}: stopped behind step {progress.step} of {steps}; the same command goes on from there"
                    f" ({checkpoints.folder})",
                    stop,
                )
    return progress.history


class _Training:
    """All that a step changes."""

    def __init__(self, model, terms: list[Term], steps: int, learning_rate: float, accumulate: int) -> None:
        self.accelerator = new_accelerator()
        if self.accelerator.scaler is not None:
            raise TrainingError("mixed precision by fp16 is not supported, for its gradients overflow: take bf16")
        self.model, self.terms, self.steps, self.accumulate = model, terms, steps, accumulate
        self.streams = [term.stream for term in terms]
        self.progress = Progress()
        optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, steps))
        self.wrapped, self.optimiser = self.accelerator.prepare(model, optimiser)
        self.accelerator.register_for_checkpointing(self.schedule, self.progress)

    def step(self, title: str) -> dict[str, Any]:
        """Takes one, and tells what was measured."""
        self.progress.step += 1
        began = time.perf_counter()
        terms = [term for term in self.terms if self.progress.step > term.begins * self.steps]
        batches = [[next(term.stream) for _ in range(self.accumulate)] for term in terms]
        self.model.train()
        try:
            measured = step_gradient(self.accelerator, self.wrapped, terms, batches)
        except DivergenceError as error:
            raise DivergenceError(f"{title}: {error} at step {self.progress.step}; lower the learning rate") from None
        (rate,) = self.schedule.get_last_lr()
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad()
        self.progress.recent.append(measured.loss)
        seconds = time.perf_counter() - began
        return {
            "step": self.progress.step,
            **vars(measured),
            "learning_rate": rate,
            "seconds": seconds,
            "tokens_per_second": measured.tokens / seconds,
        }

    def any_process(self, number: int) -> int:
        """The largest of all processes' numbers."""
        return int(self.accelerator.gather(torch.tensor([number], device=self.accelerator.device)).max())

    def finish(self) -> None:
        """Leaves the model as if it had never met accelerate, whose mark would keep the next loop from wrapping it."""
        self.accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False)
        vars(self.model).pop("_is_accelerate_prepared", None)


def warm_cosine(step: int, steps: int) -> float:
    """The share of the full learning rate: up over the first twentieth, then down to a tenth."""
    warm = max(1, steps // 20)
    return min((step + 1) / warm, 0.55 + 0.45 * math.cos(math.pi * step / steps))
