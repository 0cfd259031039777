"""Distillation: a student learns the teacher's distribution at every answer position.

With a penalty, the teacher's logits are lowered wherever the schema forbids a token, so the student inherits
the teacher's knowledge and not its format errors. Plain distillation is the same loss with penalty 0. Every
student starts from the same weights and meets the same batches: the objective is all that differs.
"""

from typing import Annotated

import typer
from transformers import PreTrainedModel

from training.gradients import Term
from training.learn import CHECKPOINT_EVERY, UPKEEP, Upkeep, learn, weights_digest
from training.losses import PENALTY, Objective, distillation
from training.models import check_fits, tiny_gpt2
from training.on_policy import format_term
from training.program import (
    Accumulate,
    CheckpointEvery,
    KeepCheckpoint,
    OnPolicyMask,
    Penalty,
    Restart,
    RunFolder,
    Steps,
    program,
)
from training.run import TOKENS_PER_BATCH, Run, open_run
from training.streams import EndlessBatches

STUDENT_STEPS = 600
LEARNING_RATE = 3e-3


def new_student(run: Run, name: str | None = None) -> PreTrainedModel:
    """A small GPT-2 with fresh weights, or any causal language model."""
    if name:
        return check_fits("student", run.load(name), run.settings.width, run.settings.max_length)
    return tiny_gpt2(layers=2, width=96, seed=run.settings.seed + 1, **run.tiny_model_settings)


def distil(
    run: Run,
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    *,
    name: str,
    objective: Objective,
    steps: int,
    upkeep: Upkeep = UPKEEP,
) -> PreTrainedModel:
    """Trains `student` in place and keeps it under `name`."""
    check_fits("teacher", teacher, run.settings.width, run.settings.max_length).eval()
    answers = EndlessBatches(run.train, run.con, TOKENS_PER_BATCH, run.settings.seed, student.device)
    terms = [
        Term("distillation", answers, lambda model, batch: distillation(model, teacher, batch, run.con, objective))
    ]
    if objective.on_policy_mask:
        terms.append(format_term(run, student, objective.on_policy_mask))
    return learn(
        run, name, student, terms,
        title=objective.title, steps=steps, learning_rate=LEARNING_RATE, upkeep=upkeep,
        objective=objective.to_json(), teacher_weights=weights_digest(teacher),
    )  # fmt: skip


def main(
    run: RunFolder,
    penalty: Penalty = PENALTY,
    target_invalid_mass: Annotated[
        float | None, typer.Option(min=0, max=1, help="in place of the penalty: the mass left on disallowed tokens")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="KL(student ‖ teacher)")] = False,
    jensen_shannon: Annotated[
        float | None, typer.Option(min=0, max=1, help="between forward and reverse, with this weight")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, help="of teacher and student")] = 1.0,
    ce: Annotated[float, typer.Option(min=0, max=1, help="share of the right answers' own cross-entropy")] = 0.0,
    on_policy_mask: OnPolicyMask = 0.0,
    name: Annotated[str, typer.Option(help="the student is kept as RUN/NAME")] = "student",
    student: Annotated[str | None, typer.Option(help="start from this model in place of a fresh small one")] = None,
    teacher: Annotated[str, typer.Option(help="a model of the run, or any other by name or path")] = "teacher",
    steps: Steps = STUDENT_STEPS,
    accumulate: Accumulate = 1,
    checkpoint_every: CheckpointEvery = CHECKPOINT_EVERY,
    keep_checkpoint: KeepCheckpoint = False,
    restart: Restart = False,
) -> None:
    """Distil a teacher into a student."""
    objective = Objective(
        penalty=penalty,
        target_invalid_mass=target_invalid_mass,
        reverse=reverse,
        jensen_shannon=jensen_shannon,
        temperature=temperature,
        cross_entropy=ce,
        on_policy_mask=on_policy_mask,
    )
    opened = open_run(run)
    distil(
        opened, opened.load(teacher), new_student(opened, student), name=name, objective=objective, steps=steps,
        upkeep=Upkeep(accumulate, checkpoint_every, keep_checkpoint, restart),
    )  # fmt: skip


if __name__ == "__main__":
    program(main)
