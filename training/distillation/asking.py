"""How a teacher is asked: at every step or once and for all, with an instruction or without, in chunks or all at once.

What is wanted of it is the objective's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

import fastmask.torch as fmt
from training.data.examples import Batch, Example
from training.distillation.chunked import Hidden, check_head
from training.distillation.instruction import Instruction
from training.distillation.teacher_cache import TOP_K, teacher_cache
from training.errors import TrainingError
from training.learning.losses import Logits
from training.run import Run

Taught = Logits | Hidden | fmt.SparseTeacher  # what a teacher says at the N positions of a batch


@dataclass(frozen=True)
class Asking:
    instruction: Instruction | None = None  # what the teacher reads, where that is not what the student does
    cache: Path | None = None  # a folder, in the run's unless it is absolute: what the teacher says is kept there
    top_k: int = TOP_K  # tokens a position that the cache keeps
    chunked: bool = False  # logits are made in chunks of positions

    def __post_init__(self) -> None:
        if self.cache and self.chunked:
            raise TrainingError(
                "--chunked needs the teacher's hidden states and --teacher-cache holds log-probabilities: give one"
            )

    @property
    def title(self) -> str:
        """In words, to follow the objective's in tables."""
        instructed = ", instructed teacher" if self.instruction else ""
        return instructed + (f", {self.top_k} tokens of it kept" if self.cache else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "prompt": self.instruction.template if self.instruction else None,
            "chat": bool(self.instruction and self.instruction.chat),
            "teacher_cache": str(self.cache) if self.cache else None,
            "top_k": self.top_k,
            "chunked": self.chunked,
        }

    @property
    def form(self) -> type[Logits | Hidden]:
        """Of what the student says, and a teacher that is run."""
        return Hidden if self.chunked else Logits

    def check(self, teacher: PreTrainedModel, student: PreTrainedModel, answers: list[tuple[Example, int]]) -> None:
        """Raises TrainingError, before hours are spent, for models that cannot be asked so.

        Args:
            answers: examples, and how many tokens the answer to each may have.
        """
        if self.instruction:
            self.instruction.require_room(answers, teacher)
        if self.chunked:
            check_head("teacher", teacher)
            check_head("student", student)

    def running(self, teacher: PreTrainedModel) -> Callable[[Batch], Taught]:
        """Asks it at every batch."""

        def ask(batch: Batch) -> Taught:
            with torch.no_grad():
                return self.form.of(teacher, self.instruction.read(batch, teacher) if self.instruction else batch)

        return ask

    def asked(
        self, run: Run, teacher: PreTrainedModel, examples: list[Example], temperature: float
    ) -> Callable[[Batch], Taught]:
        """The same for batches of these examples; where there is a cache, all are asked for now."""
        if not self.cache:
            return self.running(teacher)
        if not examples:
            raise TrainingError(
                "--teacher-cache keeps what the teacher says on the data, and all of the divergence is taken on the"
                " student's rollouts: give a --rollout-share below 1, or no cache"
            )
        cache = teacher_cache(
            run.folder / self.cache, teacher, examples, run.con,
            top_k=self.top_k, temperature=temperature, instruction=self.instruction,
        )  # fmt: skip
        return cache.__getitem__


PLAIN = Asking()
