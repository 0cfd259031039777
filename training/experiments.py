"""The experiments of docs/training.md: arms that differ in one thing, at equal steps, over several seeds.

Each seed is a run of its own, OUT/seed-0 and so on, with a sloppy and a clean teacher and a model for each arm. What
has been evaluated is not run again, so a program that was killed goes on with the same command, and a few seeds may run
side by side in programs of their own. `training.report OUT/seed-*` puts them on one page.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import print
from transformers import PreTrainedModel

from training.distil import distil, new_student
from training.distillation.asking import PLAIN, Asking
from training.distillation.instruction import instruction_of
from training.errors import TrainingError
from training.evaluate import evaluate
from training.finetune import finetune
from training.learning.losses import Objective
from training.prepare import prepare
from training.program import Heldout, MaxLength, Samples, Steps, Treebank, program
from training.run import Run, open_run, read_json, write_json
from training.teacher import SLOPPINESS, new_teacher, train_teacher

STEPS = 800
TEACHER_STEPS = 2000
MAX_LENGTH = 128  # short sentences: a small student learns them in a minute
SAMPLES = 256
PROMPT = "Tag each word of this sentence, as JSON: {input}"  # the schema alone would be 200 tokens of a small BPE
MASK = 3.0  # weight of the format on the student's own samples

Arm = Callable[[Run, str, int], PreTrainedModel]  # (run, name, steps) -> the student


def tuned(run: Run, name: str, steps: int, *, times: int = 1, **options) -> PreTrainedModel:
    """On right answers alone, for so many times the steps."""
    return finetune(run, start=None, name=name, steps=times * steps, **options)


def distilled(
    run: Run, name: str, steps: int, *, teacher: str = "teacher", times: int = 1,
    layers: int | None = None, width: int | None = None, asking: Asking = PLAIN, **objective,
) -> PreTrainedModel:  # fmt: skip
    return distil(
        run, run.load(teacher), new_student(run, None, layers, width), name=name, objective=Objective(**objective),
        steps=times * steps, asking=asking,
    )  # fmt: skip


def distilled_then_tuned(run: Run, name: str, steps: int, **options) -> PreTrainedModel:
    """The article's route, half of the steps each."""
    distilled(run, f"{name}-begun", steps // 2, penalty=10.0, **options)
    return finetune(run, start=f"{name}-begun", name=name, steps=steps - steps // 2)


def article(run: Run, name: str, steps: int, **options) -> PreTrainedModel:
    """The same from a teacher that is told the task with each sentence, while the student is not."""
    instruction = instruction_of(run, PROMPT)
    train_teacher(run, name="teacher-told", steps=TEACHER_STEPS, instruction=instruction)
    return distilled_then_tuned(run, name, steps, teacher="teacher-told", asking=Asking(instruction), **options)


half = partial(distilled, penalty=math.inf, cross_entropy=0.5)  # of constrained distillation, half of right answers
recipe = partial(  # what came out best
    distilled, teacher="teacher-clean", penalty=math.inf, rollouts="teacher", rollout_share=0.5, on_policy_mask=MASK
)

ARMS: dict[str, Arm] = {
    "fine-tuned": tuned,
    "plain": partial(distilled, penalty=0.0),
    "penalty-2": partial(distilled, penalty=2.0),
    "penalty-5": partial(distilled, penalty=5.0),
    "penalty-10": partial(distilled, penalty=10.0),
    "penalty-inf": partial(distilled, penalty=math.inf),
    "target-mass": partial(distilled, target_invalid_mass=1e-3),
    "both-masked": partial(distilled, penalty=math.inf, mask_on="both"),
    "inf+ce": half,
    "inf+teacher-rollouts": partial(distilled, penalty=math.inf, rollouts="teacher", rollout_share=0.5),
    "inf+student-rollouts": partial(distilled, penalty=math.inf, rollouts="student", rollout_share=0.5),
    "article": distilled_then_tuned,
    "article-told": article,
    "fine-tuned+mask-from-start": partial(tuned, on_policy_mask=MASK, on_policy_from=0.0),
    "fine-tuned+mask-1": partial(tuned, on_policy_mask=1.0),
    "fine-tuned+mask": partial(tuned, on_policy_mask=MASK),
    "fine-tuned+mask-10": partial(tuned, on_policy_mask=10.0),
    "inf+mask": partial(distilled, penalty=math.inf, on_policy_mask=MASK),
    "inf+ce+mask": partial(half, on_policy_mask=MASK),
    "clean-plain": partial(distilled, teacher="teacher-clean", penalty=0.0),
    "clean-inf+mask": partial(distilled, teacher="teacher-clean", penalty=math.inf, on_policy_mask=MASK),
    "inf+ce+teacher-rollouts+mask": partial(
        distilled, penalty=math.inf, cross_entropy=0.9, rollouts="teacher", rollout_share=0.5, on_policy_mask=MASK
    ),
    "recipe": recipe,
    "recipe-large": partial(recipe, layers=4, width=192),
    "fine-tuned-x2": partial(tuned, times=2),
    "fine-tuned+mask-x2": partial(tuned, on_policy_mask=MASK, times=2),
    "recipe-x2": partial(recipe, times=2),
    "fine-tuned-x4": partial(tuned, times=4),
    "recipe-x4": partial(recipe, times=4),
    "recipe-x4-large": partial(recipe, times=4, layers=4, width=192),
}


def run_seed(folder: Path, treebank, heldout, max_length: int, seed: int) -> Run:
    """The run of a seed, with its two teachers."""
    if (folder / "numbers.json").exists():
        run = open_run(folder)
    else:
        run = prepare(folder, treebank=treebank, heldout=heldout, max_length=max_length, seed=seed)
    for name, sloppiness in (("teacher", SLOPPINESS), ("teacher-clean", 0.0)):
        train_teacher(run, new_teacher(run), name=name, sloppiness=sloppiness, steps=TEACHER_STEPS)
    return run


def main(
    out: Annotated[Path, typer.Argument(help="a folder for all of the experiments", metavar="OUT")],
    treebank: Treebank = None,
    heldout: Heldout = None,
    seed: Annotated[list[int] | None, typer.Option(help="several may be given; default: 0, 1, 2")] = None,
    arm: Annotated[list[str] | None, typer.Option(help="several may be given; default: all")] = None,
    steps: Steps = STEPS,
    samples: Samples = SAMPLES,
    max_length: MaxLength = MAX_LENGTH,
) -> None:
    """Run arms over seeds, evaluating each."""
    if unknown := set(arm or []) - set(ARMS):
        raise TrainingError(f"no arm is called {', '.join(sorted(unknown))}; there are {', '.join(ARMS)}")
    settings = {"treebank": treebank, "heldout": heldout, "steps": steps, "samples": samples, "max_length": max_length}
    require_same(out, settings)
    torch.set_num_threads(1)  # models this small lose more to threads than they gain
    for each in seed or [0, 1, 2]:
        run = run_seed(out / f"seed-{each}", treebank, heldout, max_length, each)
        wanted = ["teacher", "teacher-clean", *(arm or ARMS)]
        for name in wanted:
            if "scores" in run.numbers()["models"].get(name, {}):
                print(f"seed {each}, {name}: evaluated before")
                continue
            model = ARMS[name](run, name, steps) if name in ARMS else run.load(name)
            evaluate(run, name, model, samples=samples)


def require_same(out: Path, settings: dict) -> None:
    """All arms of a folder are of the same settings, or their comparison would mean nothing."""
    path = out / "experiments.json"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, settings)
    if (known := read_json(path)) != settings:
        raise TrainingError(f"{out} holds experiments with {known}, not {settings}: give those, or another folder")


if __name__ == "__main__":
    program(main)
