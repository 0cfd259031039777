"""The losses, each a value for every position [N] that counts.

None takes a mean: the training loop does, over the positions of a batch. A loss then depends neither on padding nor on
how examples were grouped.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

import fastmask.torch as fmt
from fastmask.torch.distillation import with_labels
from fastmask.torch.divergence import require_options
from training.data.examples import Batch
from training.distillation.instruction import Reading
from training.errors import TrainingError

PENALTY = 10.0
ON_POLICY_FROM = 0.5  # of the steps: a student that can do little yet learns the task first, see docs/training.md


@dataclass(frozen=True)
class Objective:
    """What a student is to learn from its teacher."""

    penalty: float = PENALTY  # nats off the teacher's disallowed logits; 0 is plain distillation, inf is allowed
    target_invalid_mass: float | None = None  # in the penalty's place: the mass left on disallowed tokens
    mask_on: Literal["teacher", "student", "both", "none"] = "teacher"  # whose logits the penalty lowers
    reverse: bool = False  # KL(student ‖ teacher): seeks one of the teacher's modes, where forward covers them all
    jensen_shannon: float | None = None  # between the two, with this weight
    temperature: float = 1.0  # of both; losses are multiplied by its square, so that gradients keep their size
    cross_entropy: float = 0.0  # the share of the right answers' own cross-entropy
    on_policy_mask: float = 0.0  # weight of the format on the student's own samples, see training.sampling.on_policy
    on_policy_from: float = ON_POLICY_FROM  # the share of the steps behind which the student samples
    rollouts: Literal["teacher", "student"] | None = None  # whose samples the divergence is taken on besides the data
    rollout_share: float = 1.0  # of the divergence; what is left of 1 is taken on the right answers

    def __post_init__(self) -> None:
        if not 0 <= self.cross_entropy < 1:
            raise TrainingError(
                f"the share of cross-entropy must be at least 0 and below 1, got {self.cross_entropy}; for the right"
                " answers alone there is training.finetune"
            )
        require_own_samples(self.on_policy_mask, self.on_policy_from)
        require_options(self.temperature, self.reverse, self.mask_on, self.jensen_shannon, self.target_invalid_mass)
        if not self.penalty >= 0:
            raise TrainingError(f"the penalty must be at least 0, got {self.penalty}")
        from_whom = "teacher" if self.reverse else "student"  # whoever must have mass wherever the other has
        if self.forbids and self.mask_on == from_whom and self.jensen_shannon is None:
            raise TrainingError(
                f"the {'reverse' if self.reverse else 'forward'} divergence is infinite at an infinite penalty on the"
                f" {from_whom}: take a finite one, or a target for the invalid mass above 0"
            )
        if self.rollouts not in (None, "teacher", "student"):
            raise TrainingError(f"rollouts are the teacher's or the student's, got {self.rollouts!r}")
        if not 0 < self.rollout_share <= 1:
            raise TrainingError(f"the share of rollouts must be above 0 and at most 1, got {self.rollout_share}")
        if self.cross_entropy and self.share_of_answers == 0:
            raise TrainingError(
                "cross-entropy is learnt on right answers alone, and rollouts have taken their place: give a"
                " --rollout-share below 1, or no --ce"
            )

    def to_json(self) -> dict:
        return {**vars(self), "penalty": f"{self.penalty:g}"}  # JSON has no infinity

    @classmethod
    def from_json(cls, kept: dict) -> "Objective":
        return cls(**{**kept, "penalty": float(kept["penalty"])})

    @property
    def forbids(self) -> bool:
        """Whether disallowed tokens are left no mass at all."""
        return self.penalty == math.inf if self.target_invalid_mass is None else self.target_invalid_mass == 0

    @property
    def share_of_answers(self) -> float:
        return 1 - self.rollout_share if self.rollouts else 1.0

    @property
    def student_samples(self) -> bool:
        return self.rollouts == "student" or self.on_policy_mask > 0

    @property
    def samples_begin(self) -> float:
        """The share of the steps behind which the student samples: at once, where it has nothing else to learn."""
        return self.on_policy_from if self.share_of_answers or self.rollouts == "teacher" else 0.0

    @property
    def on_samples(self) -> "Objective":
        """The same where answers are sampled: nothing says that those are right."""
        return replace(self, cross_entropy=0.0)

    @property
    def divergence(self) -> dict[str, Any]:
        """The divergence's own options, by name."""
        names = ("penalty", "temperature", "mask_on", "reverse", "jensen_shannon", "target_invalid_mass")
        return {name: getattr(self, name) for name in names}

    @property
    def title(self) -> str:
        """The objective in words, for tables."""
        plain = self.penalty == 0 and self.target_invalid_mass is None
        mass = f"mass {self.target_invalid_mass:g}" if self.target_invalid_mass is not None else ""
        parts = [
            "plain" if plain else mass or f"penalty {self.penalty:g}",
            f"on {self.mask_on}" if self.mask_on != "teacher" else "",
            "reverse" if self.reverse else "",
            f"JS {self.jensen_shannon:g}" if self.jensen_shannon is not None else "",
            f"τ {self.temperature:g}" if self.temperature != 1 else "",
            f"CE {self.cross_entropy:g}" if self.cross_entropy else "",
            f"{self.rollouts}'s rollouts × {self.rollout_share:g}" if self.rollouts else "",
            f"mask on own samples × {self.on_policy_mask:g}" if self.on_policy_mask else "",
            f"from {self.samples_begin:.0%} of the steps" if self.student_samples and self.samples_begin else "",
        ]
        return "distilled, " + ", ".join(filter(None, parts))


def require_own_samples(weight: float, begin: float) -> None:
    """Raises TrainingError for what the format on the student's own samples cannot weigh, or when they cannot begin."""
    if not 0 <= weight < math.inf:
        raise TrainingError(f"the weight of the on-policy mask must be finite and ≥ 0, got {weight}")
    if not 0 <= begin < 1:
        raise TrainingError(f"samples begin behind a share of the steps from 0 to below 1, got {begin}")


@dataclass(frozen=True, eq=False)
class Logits:
    """What a model says at N positions; `training.distillation.chunked.Hidden` never holds all of the logits."""

    values: Tensor  # [N,V]

    @classmethod
    def of(cls, model, reading: Batch | Reading) -> "Logits":
        return cls(answer_logits(model, reading))

    def divergence(
        self, taught: "Logits | fmt.SparseTeacher", states: Tensor, con, *, temperature: float = 1.0, **options
    ) -> Tensor:
        """From what the teacher says, [N]; options as for `fastmask.torch.constrained_kl`."""
        if isinstance(taught, fmt.SparseTeacher):  # which has its temperature
            return fmt.sparse_constrained_kl(self.values, taught, states, con, **options)
        return fmt.constrained_kl(self.values, taught.values, states, con, temperature=temperature, **options)

    def label_losses(self, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.values.float(), targets, reduction="none")


def answer_logits(model, reading: Batch | Reading) -> Tensor:
    """[N,V]: the logits that predict the answers' tokens."""
    return model(**reading.inputs, use_cache=False).logits[reading.predicts]


def cross_entropy(model, batch: Batch) -> Tensor:
    return Logits.of(model, batch).label_losses(batch.targets)


def constrained_cross_entropy(model, batch: Batch, con) -> Tensor:
    """-log of the target's probability among the allowed tokens: of the format nothing is learnt."""
    return -fmt.constrained_log_probs(answer_logits(model, batch), batch.targets, batch.answer_states, con)


def distillation(student, teacher, batch: Batch, con, objective: Objective) -> Tensor:
    """From a teacher that is run on the very batch; `training.distillation.asking` knows other ways."""
    with torch.no_grad():
        taught = Logits.of(teacher, batch)
    return losses_from(taught, Logits.of(student, batch), batch, con, objective)


def losses_from(taught, said, batch: Batch, con, objective: Objective) -> Tensor:
    """The divergence of the objective, mixed with the answers' cross-entropy where it asks for that.

    Args:
        taught, said: what teacher and student say there, both `Logits` or both `Hidden`; or `Logits` of the student and
            a `fastmask.torch.SparseTeacher`.
    """
    divergences = said.divergence(taught, batch.answer_states, con, **objective.divergence)
    return with_labels(
        divergences, objective.temperature, objective.cross_entropy, lambda: said.label_losses(batch.targets)
    )


def format_loss(model, batch: Batch, con) -> Tensor:
    return format_of(Logits.of(model, batch), batch, con)


def format_of(said, batch: Batch, con) -> Tensor:
    """-log of the mass on allowed tokens: what the schema alone has to say, without a teacher and without a label.

    As a divergence it is that from the model to itself under the constraint, KL(q_A ‖ q), of which only the right side
    learns; the gradient is that of -log q(A), too.
    """
    return said.divergence(said, batch.answer_states, con, penalty=math.inf)
