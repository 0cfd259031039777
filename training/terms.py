"""What a step of distillation learns from: right answers, the teacher's own samples, the student's own."""

from torch import Tensor
from transformers import PreTrainedModel

from training.asking import Asking
from training.examples import Batch, Example
from training.gradients import Term
from training.losses import Objective, format_of, losses_from
from training.on_policy import OwnSamples
from training.rollouts import teacher_rollouts
from training.run import TOKENS_PER_BATCH, Run
from training.streams import EndlessBatches


def distillation_terms(
    run: Run, teacher: PreTrainedModel, student: PreTrainedModel, objective: Objective, asking: Asking
) -> list[Term]:
    """Each with the objective's share of the divergence.

    On the student's samples, divergence and format are one term, so that both are taken on the same samples, of which
    the student says what it says but once.

    Raises:
        TrainingError: a prompt and an answer that the teacher cannot read at once; models that cannot be asked so.
    """
    con, form = run.con, asking.form
    answers = run.train if objective.share_of_answers else []
    sampled = teacher_rollouts(run, teacher, asking.instruction) if objective.rollouts == "teacher" else []
    to_come = _longest_samples(run) if objective.rollouts == "student" else []
    asking.check(teacher, student, [(example, len(example.answer)) for example in answers + sampled] + to_come)
    running = asking.running(teacher)
    asked = asking.asked(run, teacher, answers + sampled, objective.temperature)

    def on_data(name: str, examples: list[Example], wanted: Objective, weight: float) -> Term:
        batches = EndlessBatches(examples, con, TOKENS_PER_BATCH, run.settings.seed, student.device)

        def loss(model, batch: Batch) -> Tensor:
            return losses_from(asked(batch), form.of(model, batch), batch, con, wanted)

        return Term(name, batches, loss, weight)

    def on_own_samples(model, batch: Batch) -> Tensor:
        said, parts = form.of(model, batch), []
        if objective.rollouts == "student":
            losses = losses_from(running(batch), said, batch, con, objective.on_samples)
            parts.append(objective.rollout_share * losses)
        if objective.on_policy_mask:
            parts.append(objective.on_policy_mask * format_of(said, batch, con))
        return sum(parts)

    terms = []
    if answers:
        terms.append(on_data("distillation", answers, objective, objective.share_of_answers))
    if sampled:
        terms.append(on_data("teacher's rollouts", sampled, objective.on_samples, objective.rollout_share))
    if objective.rollouts == "student" or objective.on_policy_mask:
        terms.append(Term("own samples", OwnSamples(run, student), on_own_samples))
    return terms


def _longest_samples(run: Run) -> list[tuple[Example, int]]:
    """Training examples, and at most so many tokens `training.sampling.continue_prompts` writes behind each."""
    longest = max(len(example.answer) for example in run.train) * 3 // 2
    return [(example, min(longest, run.settings.max_length - example.start)) for example in run.train]
