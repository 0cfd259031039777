"""The teacher's own answers as training data: its constrained samples in the right answers' place.

On right answers a student hears what the teacher would say in places to which the teacher itself might never have come.
On these it hears it where the teacher goes. The student's own samples are in `training.sampling.on_policy`.
"""

from pathlib import Path

from transformers import PreTrainedModel

from training.data.examples import Example
from training.distillation.instruction import Instruction
from training.label import label, labelling, read_answers, teacher_prompts
from training.learning.processes import processes
from training.run import Run


def teacher_rollouts(run: Run, teacher: PreTrainedModel, instruction: Instruction | None = None) -> list[Example]:
    """What the teacher answers to the run's texts, sampled once and kept in the run's folder.

    A sampling that was killed goes on where its file ends.
    """
    texts = [record.text for record in run.records]
    path = rollouts_path(run, teacher, texts, instruction)
    with processes().main_process_first():  # the others find the file complete
        label(run, teacher, texts, path, instruction=instruction)
    return read_answers(run, path)


def rollouts_path(run: Run, teacher: PreTrainedModel, texts: list[str], instruction: Instruction | None) -> Path:
    """Its name tells all that the rows depend on, so that they are found again by these settings and by no others."""
    return run.folder / f"rollouts-{labelling(run, teacher, teacher_prompts(run, texts, instruction))}.jsonl"
