"""Fine-tuning: a student learns the right answers themselves, by cross-entropy on the answer positions."""

from pathlib import Path
from typing import Annotated

import typer
from transformers import PreTrainedModel

from training.examples import endless_batches
from training.losses import cross_entropy
from training.optimise import train
from training.prepare import TOKENS_PER_BATCH, Run, open_run
from training.program import program
from training.score import score

FINETUNE_STEPS = 300
LEARNING_RATE = 1e-3  # gentler than from scratch: there is something to lose


def finetune(run: Run, student: PreTrainedModel, *, name: str, title: str, steps: int = FINETUNE_STEPS) -> PreTrainedModel:
    """Trains `student` in place and keeps it under `name`."""
    history = train(
        student,
        endless_batches(run.train, run.con, TOKENS_PER_BATCH, run.settings.seed + 2, student.device),
        lambda batch: cross_entropy(student, batch),
        lambda: score(student, run.some_heldout(), run.con),
        steps=steps,
        learning_rate=LEARNING_RATE,
        title=title,
    )
    run.keep(name, student, title=title, history=history)
    return student


def main(
    run: Annotated[Path, typer.Argument(help="a folder from training.prepare")],
    student: Annotated[str, typer.Option(help="the model in RUN to start from")] = "student",
    name: Annotated[str, typer.Option(help="the result is kept as RUN/NAME")] = "finetuned",
    steps: Annotated[int, typer.Option(help="training steps")] = FINETUNE_STEPS,
) -> None:
    """Fine-tune a student of RUN on the treebank's answers."""
    opened = open_run(run)
    finetune(opened, opened.load(student), name=name, title=f"{student}, fine-tuned", steps=steps)


if __name__ == "__main__":
    program(main)
