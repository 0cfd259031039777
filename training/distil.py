"""Distillation: a student learns the teacher's distribution at every answer position.

With a penalty, the teacher's logits are lowered wherever the schema forbids a token, so the student inherits
the teacher's knowledge and not its format errors. Plain distillation is the same loss with penalty 0. Every
student starts from the same weights and meets the same batches: the objective is all that differs.
"""

from typing import Annotated

import torch
import typer
from torch import Tensor
from transformers import PreTrainedModel

from training.examples import Batch, endless_batches
from training.losses import PENALTY, Objective, distillation, format_loss
from training.models import check_fits, tiny_gpt2
from training.on_policy import own_samples
from training.optimise import train
from training.program import DeviceMap, Dtype, Layers, OnPolicyMask, Penalty, RunFolder, Steps, Width, program
from training.run import TOKENS_PER_BATCH, Run, open_run
from training.score import score

STUDENT_STEPS = 600
LEARNING_RATE = 3e-3
LAYERS, WIDTH = 2, 96


def new_student(run: Run, name: str | None = None, layers: int = LAYERS, width: int = WIDTH) -> PreTrainedModel:
    """A small GPT-2 with fresh weights, or any causal language model."""
    if name:
        return check_fits("student", run.load(name), run.settings.width, run.settings.max_length)
    return tiny_gpt2(layers=layers, width=width, seed=run.settings.seed + 1, **run.tiny_model_settings)


def distil(
    run: Run, teacher: PreTrainedModel, student: PreTrainedModel, *, name: str, objective: Objective, steps: int
) -> PreTrainedModel:
    """Trains `student` in place and keeps it under `name`."""
    check_fits("teacher", teacher, run.settings.width, run.settings.max_length).eval()
    torch.manual_seed(run.settings.seed)
    samples = own_samples(run, student)

    def losses(batch: Batch) -> list[Tensor]:
        terms = [distillation(student, teacher, batch, run.con, objective)]
        if objective.on_policy_mask:
            terms.append(objective.on_policy_mask * format_loss(student, next(samples), run.con))
        return terms

    history = train(
        student,
        endless_batches(run.train, run.con, TOKENS_PER_BATCH, run.settings.seed, student.device),
        losses,
        lambda: score(student, run.some_heldout(), run.con),
        steps=steps,
        learning_rate=LEARNING_RATE,
        title=objective.title,
    )
    run.keep(name, student, title=objective.title, history=history, objective=objective.to_json())
    return student


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
    layers: Layers = LAYERS,
    width: Width = WIDTH,
    teacher: Annotated[str, typer.Option(help="a model of the run, or any other by name or path")] = "teacher",
    dtype: Dtype = "auto",
    device_map: DeviceMap = None,
    steps: Steps = STUDENT_STEPS,
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
        opened,
        opened.load(teacher, dtype=dtype, device_map=device_map),
        new_student(opened, student, layers, width),
        name=name,
        objective=objective,
        steps=steps,
    )


if __name__ == "__main__":
    program(main)
