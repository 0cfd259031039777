"""The whole idea on real sentences, read from top to bottom.

A treebank becomes examples; a teacher that is careless about the format is distilled into a small student,
once plainly and once with a penalty on whatever the schema forbids; the better student is fine-tuned; each
is sampled freely and under the constraint; and a table says what came of it.
"""

import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import print

from training.distil import STUDENT_STEPS, distil, new_student
from training.evaluate import SAMPLES, evaluate
from training.finetune import FINETUNE_STEPS, finetune
from training.learning.learn import Upkeep
from training.learning.losses import PENALTY, Objective
from training.prepare import MAX_LENGTH, prepare
from training.program import Heldout, MaxLength, Penalty, Samples, Seed, Steps, Tokenizer, Treebank, program
from training.report import report
from training.run import absolute
from training.teacher import TEACHER_STEPS, train_teacher

ANEW = Upkeep(checkpoint_every=0, restart=True)


def demo(
    out: Annotated[Path, typer.Option(help="everything is written to this folder")] = Path("runs/demo"),
    treebank: Treebank = None,
    heldout: Heldout = None,
    teacher: Annotated[str | None, typer.Option(help="by name or path, taken as it is; default: trained here")] = None,
    student: Annotated[str | None, typer.Option(help="by name or path; default: small and fresh")] = None,
    tokenizer: Tokenizer = None,
    penalty: Penalty = PENALTY,
    teacher_steps: Steps = TEACHER_STEPS,
    student_steps: Steps = STUDENT_STEPS,
    finetune_steps: Steps = FINETUNE_STEPS,
    samples: Samples = SAMPLES,
    max_length: MaxLength = MAX_LENGTH,
    seed: Seed = 0,
) -> None:
    """Treebank → teacher → plain and penalised distillation → fine-tuning → samples → a table and a picture."""
    began = time.perf_counter()
    if not (teacher or student or tokenizer):
        # Models this small gain little from a second thread, and lose most of their speed to waiting for it
        # on a machine whose cores have other work.
        torch.set_num_threads(1)
    run = prepare(
        out,
        treebank=treebank,
        heldout=heldout,
        tokenizer=tokenizer,
        teacher=teacher,
        max_length=max_length,
        seed=seed,
        restart=True,
    )
    plain, better = new_student(run, student), new_student(run, student)

    if teacher:
        teaching = run.load(teacher)
        run.record("teacher", title=f"teacher ({Path(teacher).name})", history=[], source=absolute(teacher))
    else:
        teaching = train_teacher(run, steps=teacher_steps, upkeep=ANEW)
    evaluate(run, "teacher", teaching, samples=samples)

    # Equal starts, equal batches, equal steps: the penalty is the only difference.
    distil(run, teaching, plain, name="student-plain", objective=Objective(penalty=0), steps=student_steps, upkeep=ANEW)
    evaluate(run, "student-plain", plain, samples=samples)
    distil(run, teaching, better, name="student", objective=Objective(penalty), steps=student_steps, upkeep=ANEW)
    evaluate(run, "student", better, samples=samples)

    tuned = finetune(run, start="student", name="finetuned", steps=finetune_steps, upkeep=ANEW)
    evaluate(run, "finetuned", tuned, samples=samples)

    report(out)
    print(f"done in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    program(demo)
