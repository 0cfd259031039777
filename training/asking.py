"""How a teacher is asked, and what a step of distillation learns from it.

The objective says which divergence is taken; whether the teacher is run or read from a cache, whether it reads an
instruction, and whether logits are held all at once, is said here and changes nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from training.chunked import check_head, chunked_distillation, chunked_format_loss
from training.errors import TrainingError
from training.examples import Batch, Example
from training.instruction import Instruction
from training.losses import Objective, distillation, format_loss, sparse_distillation
from training.on_policy import OwnSamples
from training.optimise import Term
from training.rollouts import teacher_rollouts
from training.run import TOKENS_PER_BATCH, Run
from training.streams import EndlessBatches
from training.teacher_cache import TOP_K, teacher_cache

Lesson = Callable[[Any, Batch, Objective], Tensor]  # the losses [N] of a student on a batch


@dataclass(frozen=True)
class Asking:
    instruction: Instruction | None = None  # what the teacher reads, where that is not what the student does
    cache: Path | None = None  # a folder in the run's, or anywhere: what the teacher says is kept there
    top_k: int = TOP_K  # tokens a position that the cache keeps
    chunked: bool = False  # logits are made in chunks of positions

    def __post_init__(self) -> None:
        if self.cache and self.chunked:
            raise TrainingError(
                "--chunked needs the teacher's hidden states and --teacher-cache holds log-probabilities: give one"
            )

    @property
    def title(self) -> str:
        """In words, for tables; empty for the plain way."""
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


PLAIN = Asking()


def distillation_terms(
    run: Run, teacher: PreTrainedModel, student: PreTrainedModel, objective: Objective, asking: Asking
) -> list[Term]:
    """The divergence on right answers, on the teacher's samples, and on the student's own, as the objective shares it.

    The format on the student's own samples is learnt in one term with the divergence there, so that both see the same.

    Raises:
        TrainingError: a prompt and an answer that the teacher cannot read at once; a model that cannot be asked so.
    """
    answers = run.train if objective.share_of_answers else []
    sampled = teacher_rollouts(run, teacher, asking.instruction) if objective.rollouts == "teacher" else []
    if asking.instruction:
        asking.instruction.require_room(((example, len(example.answer)) for example in answers + sampled), teacher)
        if objective.rollouts == "student":
            asking.instruction.require_room(_longest_samples(run), teacher)
    if asking.chunked:
        check_head("teacher", teacher)
        check_head("student", student)
    running = _running_lesson(run, teacher, asking)
    kept = _kept_lesson(run, teacher, answers + sampled, objective, asking) if asking.cache else running

    def term(name: str, examples: list[Example], asked: Objective, weight: float) -> Term:
        batches = EndlessBatches(examples, run.con, TOKENS_PER_BATCH, run.settings.seed, student.device)
        return Term(name, batches, lambda model, batch: kept(model, batch, asked), weight)

    terms = []
    if answers:
        terms.append(term("distillation", answers, objective, objective.share_of_answers))
    if sampled:
        terms.append(term("teacher's rollouts", sampled, objective.on_samples, objective.rollout_share))
    if objective.rollouts == "student" or objective.on_policy_mask:
        format_of = chunked_format_loss if asking.chunked else format_loss
        terms.append(_own_term(run, student, running, objective, format_of))
    return terms


def _own_term(run: Run, student: PreTrainedModel, lesson: Lesson, objective: Objective, format_of: Callable) -> Term:
    parts: list[Callable[[Any, Batch], Tensor]] = []
    if objective.rollouts == "student":
        parts.append(lambda model, batch: objective.rollout_share * lesson(model, batch, objective.on_samples))
    if objective.on_policy_mask:
        parts.append(lambda model, batch: objective.on_policy_mask * format_of(model, batch, run.con))
    return Term("own samples", OwnSamples(run, student), lambda model, batch: sum(part(model, batch) for part in parts))


def _running_lesson(run: Run, teacher: PreTrainedModel, asking: Asking) -> Lesson:
    form = chunked_distillation if asking.chunked else distillation

    def lesson(model, batch: Batch, objective: Objective) -> Tensor:
        reading = asking.instruction.read(batch) if asking.instruction else batch
        return form(model, teacher, batch, run.con, objective, reading)

    return lesson


def _kept_lesson(
    run: Run, teacher: PreTrainedModel, examples: list[Example], objective: Objective, asking: Asking
) -> Lesson:
    if not examples:
        raise TrainingError(
            "--teacher-cache keeps what the teacher says on the data, and all of the divergence is taken on the"
            " student's rollouts: give a --rollout-share below 1, or no cache"
        )
    cache = teacher_cache(
        run.folder / asking.cache, teacher, examples, run.con,
        top_k=asking.top_k, temperature=objective.temperature, instruction=asking.instruction,
    )  # fmt: skip
    return lambda model, batch, objective: sparse_distillation(model, cache[batch], batch, run.con, objective)


def _longest_samples(run: Run) -> list[tuple[Example, int]]:
    """Training examples, and at most so many tokens `training.sampling.continue_prompts` writes behind each."""
    longest = max(len(example.answer) for example in run.train) * 3 // 2
    return [(example, min(longest, run.settings.max_length - example.start)) for example in run.train]
