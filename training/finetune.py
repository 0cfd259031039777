"""Fine-tuning: a student learns the right answers themselves, by cross-entropy on the answer positions.

With the on-policy mask it learns the format on its own samples besides, see `training.on_policy`.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from transformers import PreTrainedModel

from training.distil import LAYERS, WIDTH, new_student
from training.examples import Batch, Example, endless_batches
from training.label import read_answers
from training.losses import cross_entropy, format_loss
from training.on_policy import own_samples
from training.optimise import train
from training.program import Layers, OnPolicyMask, RunFolder, Steps, Width, program
from training.run import TOKENS_PER_BATCH, Run, open_run
from training.score import score

FINETUNE_STEPS = 300
LEARNING_RATE = 1e-3  # gentler than from scratch: there is something to lose
FRESH_LEARNING_RATE = 3e-3


def finetune(
    run: Run,
    *,
    start: str | None,
    name: str,
    answers: list[Example] | None = None,
    on_policy_mask: float = 0.0,
    layers: int = LAYERS,
    width: int = WIDTH,
    steps: int = FINETUNE_STEPS,
) -> PreTrainedModel:
    """Goes on from the run's model `start`, or from a fresh student, and keeps the result under `name`.

    It learns from `answers`, or from the treebank's.
    """
    student = new_student(run, start, layers, width)
    title = f"{run.numbers()['models'][start]['title']}, fine-tuned" if start else "fine-tuned only"
    title += f", mask on own samples × {on_policy_mask:g}" if on_policy_mask else ""
    torch.manual_seed(run.settings.seed)
    samples = own_samples(run, student)

    def losses(batch: Batch) -> list[Tensor]:
        terms = [cross_entropy(student, batch)]
        if on_policy_mask:
            terms.append(on_policy_mask * format_loss(student, next(samples), run.con))
        return terms

    history = train(
        student,
        endless_batches(answers or run.train, run.con, TOKENS_PER_BATCH, run.settings.seed + 2, student.device),
        losses,
        lambda: score(student, run.some_heldout(), run.con),
        steps=steps,
        learning_rate=LEARNING_RATE if start else FRESH_LEARNING_RATE,
        title=title,
    )
    run.keep(name, student, title=title, history=history, start=start)
    return student


def main(
    run: RunFolder,
    start: Annotated[str, typer.Option(help="the model in RUN to go on from")] = "student",
    answers: Annotated[Path | None, typer.Option(help="a JSONL file of answers, see training.label")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="begin with fresh weights")] = False,
    on_policy_mask: OnPolicyMask = 0.0,
    layers: Layers = LAYERS,
    width: Width = WIDTH,
    name: Annotated[str, typer.Option(help="the result is kept as RUN/NAME")] = "finetuned",
    steps: Steps = FINETUNE_STEPS,
) -> None:
    """Fine-tune a student of RUN on the treebank's answers."""
    opened = open_run(run)
    finetune(
        opened,
        start=None if fresh else start,
        name=name,
        answers=read_answers(opened, answers) if answers else None,
        on_policy_mask=on_policy_mask,
        layers=layers,
        width=width,
        steps=steps,
    )


if __name__ == "__main__":
    program(main)
