"""Distillation: a student learns the teacher's distribution at every answer position.

With a penalty, the teacher's logits are lowered wherever the schema forbids a token, so the student inherits
the teacher's knowledge and not its format errors. Plain distillation is the same loss with penalty 0. Every
student starts from the same weights and meets the same batches: the objective is all that differs.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from transformers import PreTrainedModel

from training.distillation.asking import PLAIN, Asking
from training.distillation.instruction import instruction_of
from training.distillation.teacher_cache import TOP_K
from training.distillation.terms import distillation_terms
from training.learning.learn import CHECKPOINT_EVERY, UPKEEP, Upkeep, learn
from training.learning.losses import ON_POLICY_FROM, PENALTY, Objective
from training.learning.model_digest import model_digest
from training.learning.models import check_fits, require_own_size, tiny_gpt2
from training.program import (
    Accumulate,
    Chat,
    CheckpointEvery,
    DeviceMap,
    Dtype,
    KeepCheckpoint,
    OnPolicyFrom,
    OnPolicyMask,
    Penalty,
    Prompt,
    Restart,
    RunFolder,
    Steps,
    layers_option,
    program,
    width_option,
)
from training.run import Run, open_run

STUDENT_STEPS = 600
LEARNING_RATE = 3e-3
LAYERS, WIDTH = 2, 96


def new_student(
    run: Run, name: str | None = None, layers: int | None = None, width: int | None = None
) -> PreTrainedModel:
    """A small GPT-2 with fresh weights, or any causal language model.

    Raises:
        TrainingError: the model cannot be loaded, does not fit the run, or is asked for another size than its own.
    """
    if name:
        require_own_size(name, layers, width)
        return check_fits("student", run.load(name), run.settings.width, run.settings.max_length)
    sizes = {"layers": layers or LAYERS, "width": width or WIDTH}
    return tiny_gpt2(**sizes, seed=run.settings.seed + 1, **run.tiny_model_settings)


def distil(
    run: Run,
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    *,
    name: str,
    objective: Objective,
    steps: int,
    asking: Asking = PLAIN,
    upkeep: Upkeep = UPKEEP,
) -> PreTrainedModel:
    """Trains `student` in place and keeps it under `name`."""
    check_fits("teacher", teacher, run.settings.width, run.settings.max_length).eval()
    return learn(
        run, name, student, distillation_terms(run, teacher, student, objective, asking),
        title=objective.title + asking.title, steps=steps, learning_rate=LEARNING_RATE, upkeep=upkeep,
        objective=objective.to_json(), asking=asking.to_json(), teacher_weights=model_digest(teacher),
    )  # fmt: skip


def main(
    run: RunFolder,
    penalty: Penalty = PENALTY,
    target_invalid_mass: Annotated[
        float | None, typer.Option(min=0, max=1, help="in place of the penalty: the mass left on disallowed tokens")
    ] = None,
    mask_on: Annotated[
        Literal["teacher", "student", "both", "none"], typer.Option(help="whose logits the penalty lowers")
    ] = "teacher",
    reverse: Annotated[bool, typer.Option("--reverse", help="KL(student ‖ teacher)")] = False,
    jensen_shannon: Annotated[
        float | None, typer.Option(min=0, max=1, help="between forward and reverse, with this weight")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, help="of teacher and student")] = 1.0,
    ce: Annotated[float, typer.Option(min=0, max=1, help="share of the right answers' own cross-entropy")] = 0.0,
    on_policy_mask: OnPolicyMask = 0.0,
    on_policy_from: OnPolicyFrom = ON_POLICY_FROM,
    rollouts: Annotated[
        Literal["teacher", "student"] | None, typer.Option(help="learn on samples of whom, besides the right answers")
    ] = None,
    rollout_share: Annotated[
        float, typer.Option(min=0, max=1, help="of the divergence that is taken on rollouts; 1: none on right answers")
    ] = 1.0,
    prompt: Prompt = None,
    chat: Chat = False,
    teacher_cache: Annotated[
        Path | None, typer.Option(help="a folder in RUN: ask the teacher once and keep there what it says")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="tokens a position that --teacher-cache keeps")] = TOP_K,
    chunked: Annotated[
        bool, typer.Option("--chunked", help="for large vocabularies: logits are made in chunks of positions")
    ] = False,
    name: Annotated[str, typer.Option(help="the student is kept as RUN/NAME")] = "student",
    student: Annotated[str | None, typer.Option(help="start from this model in place of a fresh small one")] = None,
    layers: Annotated[int | None, layers_option(LAYERS)] = None,
    width: Annotated[int | None, width_option(WIDTH)] = None,
    teacher: Annotated[str, typer.Option(help="a model of the run, or any other by name or path")] = "teacher",
    dtype: Dtype = "auto",
    device_map: DeviceMap = None,
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
        mask_on=mask_on,
        reverse=reverse,
        jensen_shannon=jensen_shannon,
        temperature=temperature,
        cross_entropy=ce,
        on_policy_mask=on_policy_mask,
        on_policy_from=on_policy_from,
        rollouts=rollouts,
        rollout_share=rollout_share,
    )
    opened = open_run(run)
    distil(
        opened,
        opened.load(teacher, dtype=dtype, device_map=device_map),
        new_student(opened, student, layers, width),
        name=name,
        objective=objective,
        steps=steps,
        asking=Asking(instruction_of(opened, prompt, chat=chat), teacher_cache, top_k, chunked),
        upkeep=Upkeep(accumulate, checkpoint_every, keep_checkpoint, restart),
    )


if __name__ == "__main__":
    program(main)
