"""Distillation: a student learns the teacher's distribution at every answer position.

With a penalty, the teacher's logits are lowered wherever the schema forbids a token, so the student inherits
the teacher's knowledge and not its format errors. Plain distillation is the same loss with penalty 0. Every
student starts from the same weights and meets the same batches: the penalty is all that differs.
"""

from typing import Annotated

import typer
from transformers import PreTrainedModel

from training.examples import endless_batches
from training.losses import distillation
from training.models import check_fits, tiny_gpt2
from training.optimise import train
from training.program import Penalty, RunFolder, Steps, program
from training.run import TOKENS_PER_BATCH, Run, open_run
from training.score import score

STUDENT_STEPS = 600
LEARNING_RATE = 3e-3
PENALTY = 10.0


def new_student(run: Run, name: str | None = None) -> PreTrainedModel:
    """A small GPT-2 with fresh weights, or any causal language model."""
    if name:
        return check_fits("student", run.load(name), run.settings.width, run.settings.max_length)
    return tiny_gpt2(layers=2, width=96, seed=run.settings.seed + 1, **run.tiny_model_settings)


def distil(
    run: Run, teacher: PreTrainedModel, student: PreTrainedModel, *, name: str, penalty: float, steps: int
) -> PreTrainedModel:
    """Trains `student` in place and keeps it under `name`."""
    check_fits("teacher", teacher, run.settings.width, run.settings.max_length).eval()
    title = f"distilled, penalty {penalty:g}" if penalty else "distilled, plain"
    history = train(
        student,
        endless_batches(run.train, run.con, TOKENS_PER_BATCH, run.settings.seed, student.device),
        lambda batch: distillation(student, teacher, batch, run.con, penalty),
        lambda: score(student, run.some_heldout(), run.con),
        steps=steps,
        learning_rate=LEARNING_RATE,
        title=title,
    )
    run.keep(name, student, title=title, history=history, penalty=f"{penalty:g}")
    return student


def main(
    run: RunFolder,
    penalty: Penalty = PENALTY,
    name: Annotated[str, typer.Option(help="the student is kept as RUN/NAME")] = "student",
    student: Annotated[str | None, typer.Option(help="start from this model in place of a fresh small one")] = None,
    teacher: Annotated[str, typer.Option(help="a model of the run, or any other by name or path")] = "teacher",
    steps: Steps = STUDENT_STEPS,
) -> None:
    """Distil a teacher into a student."""
    opened = open_run(run)
    distil(opened, opened.load(teacher), new_student(opened, student), name=name, penalty=penalty, steps=steps)


if __name__ == "__main__":
    program(main)
