"""What a step of distillation learns from: right answers, the teacher's own samples, the student's own."""

from collections.abc import Callable
from functools import partial

from torch import Tensor
from transformers import PreTrainedModel

from training.data.examples import Batch, Example
from training.distillation.asking import Asking, Taught
from training.distillation.chunked import Hidden
from training.learning.gradients import Term
from training.learning.losses import Logits, Objective, format_of, losses_from
from training.learning.streams import EndlessBatches
from training.run import TOKENS_PER_BATCH, Run
from training.sampling.answers import room_behind
from training.sampling.on_policy import OwnSamples
from training.sampling.rollouts import teacher_rollouts


def distillation_terms(
    run: Run, teacher: PreTrainedModel, student: PreTrainedModel, objective: Objective, asking: Asking
) -> list[Term]:
    """Each with its weight in the objective.

    On the student's samples, divergence and format are one term: both see the same, and the student is run but once.

    Raises:
        TrainingError: a prompt and an answer that the teacher cannot read at once; models that cannot be asked so.
    """
    con, form = run.con, asking.form
    answers = run.train if objective.share_of_answers else []
    to_come = _longest_samples(run) if objective.rollouts == "student" else []
    asking.check(teacher, student, _lengths(answers) + to_come)  # now: to sample and to ask may take hours
    sampled = teacher_rollouts(run, teacher, asking.instruction) if objective.rollouts == "teacher" else []
    asking.check(teacher, student, _lengths(sampled))
    asked = asking.asked(run, teacher, answers + sampled, objective.temperature)

    def on_data(name: str, examples: list[Example], wanted: Objective, weight: float) -> Term:
        batches = EndlessBatches(examples, con, TOKENS_PER_BATCH, run.settings.seed, student.device)

        def loss(model, batch: Batch) -> Tensor:
            return losses_from(asked(batch), form.of(model, batch), batch, con, wanted)

        return Term(name, batches, loss, weight)

    terms = []
    if answers:
        terms.append(on_data("distillation", answers, objective, objective.share_of_answers))
    if sampled:
        terms.append(on_data("teacher's rollouts", sampled, objective.on_samples, objective.rollout_share))
    if objective.student_samples:
        terms.append(_on_own_samples(run, student, form, asking.running(teacher), objective))
    return terms


def _on_own_samples(
    run: Run,
    student: PreTrainedModel,
    form: type[Logits | Hidden],
    ask: Callable[[Batch], Taught],
    objective: Objective,
) -> Term:
    """Divergence and format, or one of them, of what the student says on one stream of samples."""

    def divergence(said: Logits | Hidden, batch: Batch) -> Tensor:
        return losses_from(ask(batch), said, batch, run.con, objective.on_samples)

    parts = []  # name, weight, loss
    if objective.rollouts == "student":
        parts.append(("student's rollouts", objective.rollout_share, divergence))
    if objective.on_policy_mask:
        parts.append(("format", objective.on_policy_mask, partial(format_of, con=run.con)))
    names, weights, losses = zip(*parts, strict=True)

    def mean(model, batch: Batch) -> Tensor:
        said = form.of(model, batch)
        return sum(weight / sum(weights) * loss(said, batch) for weight, loss in zip(weights, losses, strict=True))

    return Term(" and ".join(names), OwnSamples(run, student), mean, sum(weights), objective.samples_begin)


def _lengths(examples: list[Example]) -> list[tuple[Example, int]]:
    return [(example, len(example.answer)) for example in examples]


def _longest_samples(run: Run) -> list[tuple[Example, int]]:
    """Training examples, and at most so many tokens `training.sampling.slips.sample_up_to_slips` writes behind each."""
    longest = max(len(example.answer) for example in run.train)
    return [(example, room_behind(example.start, longest, run.settings.max_length)) for example in run.train]
