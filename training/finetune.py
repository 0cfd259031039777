"""Fine-tuning: a student learns the right answers themselves, by cross-entropy on the answer positions.

Constrained, it is the cross-entropy among the allowed tokens alone: for a student that will always be decoded under
the constraint, and may spend all that it has on what to say. With the on-policy mask it learns the format on its own
samples besides, see `training.sampling.on_policy`.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from transformers import PreTrainedModel

from training.data.examples import Example
from training.distil import LAYERS, WIDTH, new_student
from training.errors import TrainingError
from training.label import read_answers
from training.learning.gradients import Term
from training.learning.learn import CHECKPOINT_EVERY, UPKEEP, Upkeep, learn
from training.learning.losses import ON_POLICY_FROM, constrained_cross_entropy, cross_entropy
from training.learning.streams import EndlessBatches
from training.program import (
    Accumulate,
    CheckpointEvery,
    KeepCheckpoint,
    OnPolicyFrom,
    OnPolicyMask,
    Restart,
    RunFolder,
    Steps,
    layers_option,
    program,
    width_option,
)
from training.run import TOKENS_PER_BATCH, Run, open_run
from training.sampling.on_policy import format_term

FINETUNE_STEPS = 300
LEARNING_RATE = 1e-3  # gentler than from scratch: there is something to lose
FRESH_LEARNING_RATE = 3e-3


def finetune(
    run: Run,
    *,
    start: str | None,
    name: str,
    answers: list[Example] | None = None,
    constrained: bool = False,
    on_policy_mask: float = 0.0,
    on_policy_from: float = ON_POLICY_FROM,
    layers: int | None = None,
    width: int | None = None,
    steps: int = FINETUNE_STEPS,
    upkeep: Upkeep = UPKEEP,
) -> PreTrainedModel:
    """Goes on from the run's model `start`, or from a fresh student, and keeps the result under `name`.

    It learns from `answers`, or from the run's right ones.

    Raises:
        TrainingError: the run has no model `start`, or it is asked for another size than its own; a weight or a
            beginning of own samples that cannot be.
    """
    models = run.numbers()["models"]
    if start and start not in models:
        raise TrainingError(
            f"{run.folder} holds no model {start!r} to go on from, but {', '.join(models) or 'none at all'}: give"
            " another --start, or --fresh for fresh weights"
        )
    student = new_student(run, start, layers, width)
    title = f"{models[start]['title']}, fine-tuned" if start else "fine-tuned only"
    title += " under the constraint" if constrained else ""
    if on_policy_mask:
        title += f", mask on own samples × {on_policy_mask:g}, from {on_policy_from:.0%} of the steps"
    batches = EndlessBatches(answers or run.train, run.con, TOKENS_PER_BATCH, run.settings.seed + 2, student.device)
    if constrained:
        terms = [Term("constrained cross-entropy", batches, partial(constrained_cross_entropy, con=run.con))]
    else:
        terms = [Term("cross-entropy", batches, cross_entropy)]
    if on_policy_mask:
        terms.append(format_term(run, student, on_policy_mask, on_policy_from))
    rate = LEARNING_RATE if start else FRESH_LEARNING_RATE
    return learn(run, name, student, terms, title=title, steps=steps, learning_rate=rate, upkeep=upkeep, start=start)


def main(
    run: RunFolder,
    start: Annotated[str, typer.Option(help="the model in RUN to go on from")] = "student",
    answers: Annotated[Path | None, typer.Option(help="a JSONL file of answers, see training.label")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="begin with fresh weights")] = False,
    constrained: Annotated[
        bool, typer.Option("--constrained", help="among allowed tokens alone, for a student that is always constrained")
    ] = False,
    on_policy_mask: OnPolicyMask = 0.0,
    on_policy_from: OnPolicyFrom = ON_POLICY_FROM,
    layers: Annotated[int | None, layers_option(LAYERS)] = None,
    width: Annotated[int | None, width_option(WIDTH)] = None,
    name: Annotated[str, typer.Option(help="the result is kept as RUN/NAME")] = "finetuned",
    steps: Steps = FINETUNE_STEPS,
    accumulate: Accumulate = 1,
    checkpoint_every: CheckpointEvery = CHECKPOINT_EVERY,
    keep_checkpoint: KeepCheckpoint = False,
    restart: Restart = False,
) -> None:
    """Fine-tune a student of RUN on the run's right answers, or on others."""
    opened = open_run(run)
    finetune(
        opened,
        start=None if fresh else start,
        name=name,
        answers=read_answers(opened, answers) if answers else None,
        constrained=constrained,
        on_policy_mask=on_policy_mask,
        on_policy_from=on_policy_from,
        layers=layers,
        width=width,
        steps=steps,
        upkeep=Upkeep(accumulate, checkpoint_every, keep_checkpoint, restart),
    )


if __name__ == "__main__":
    program(main)
