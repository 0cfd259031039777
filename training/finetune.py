"""Fine-tuning: a student learns the right answers themselves, by cross-entropy on the answer positions."""

from typing import Annotated

import typer
from transformers import PreTrainedModel

from training.examples import endless_batches
from training.losses import cross_entropy
from training.optimise import train
from training.program import RunFolder, Steps, program
from training.run import TOKENS_PER_BATCH, Run, open_run
from training.score import score

FINETUNE_STEPS = 300
LEARNING_RATE = 1e-3  # gentler than from scratch: there is something to lose


def finetune(run: Run, *, start: str, name: str, steps: int = FINETUNE_STEPS) -> PreTrainedModel:
    """Goes on from the run's model `start` and keeps the result under `name`."""
    student = run.load(start)
    title = f"{run.numbers()['models'][start]['title']}, fine-tuned"
    history = train(
        student,
        endless_batches(run.train, run.con, TOKENS_PER_BATCH, run.settings.seed + 2, student.device),
        lambda batch: cross_entropy(student, batch),
        lambda: score(student, run.some_heldout(), run.con),
        steps=steps,
        learning_rate=LEARNING_RATE,
        title=title,
    )
    run.keep(name, student, title=title, history=history, start=start)
    return student


def main(
    run: RunFolder,
    start: Annotated[str, typer.Option(help="the model in RUN to go on from")] = "student",
    name: Annotated[str, typer.Option(help="the result is kept as RUN/NAME")] = "finetuned",
    steps: Steps = FINETUNE_STEPS,
) -> None:
    """Fine-tune a student of RUN on the treebank's answers."""
    finetune(open_run(run), start=start, name=name, steps=steps)


if __name__ == "__main__":
    program(main)
