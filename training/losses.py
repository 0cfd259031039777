"""The losses, each a value for every position [N] that counts.

None takes a mean: the training loop does, over the positions of a batch. A loss then depends neither on padding nor on
how examples were grouped.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import fastmask.torch as fmt
from training.errors import TrainingError
from training.examples import Batch

PENALTY = 10.0


@dataclass(frozen=True)
class Objective:
    """What a student is to learn from its teacher."""

    penalty: float = PENALTY  # nats off the teacher's disallowed logits; 0 is plain distillation, inf is allowed
    target_invalid_mass: float | None = None  # in the penalty's place: the mass left on disallowed tokens
    reverse: bool = False  # KL(student ‖ teacher): seeks one of the teacher's modes, where forward covers them all
    jensen_shannon: float | None = None  # between the two, with this weight
    temperature: float = 1.0  # of both; losses are multiplied by its square, so that gradients keep their size
    cross_entropy: float = 0.0  # the share of the right answers' own cross-entropy
    on_policy_mask: float = 0.0  # weight of the format on the student's own samples, see training.on_policy

    def __post_init__(self) -> None:
        if not 0 <= self.cross_entropy < 1:
            raise TrainingError(
                f"the share of cross-entropy must be at least 0 and below 1, got {self.cross_entropy}; for the right"
                " answers alone there is training.finetune"
            )
        if not 0 <= self.on_policy_mask < math.inf:
            raise TrainingError(f"the weight of the on-policy mask must be finite and ≥ 0, got {self.on_policy_mask}")
        if self.reverse and self.jensen_shannon is None and self.penalty == math.inf:
            raise TrainingError("the reverse divergence is infinite at an infinite penalty: take a finite one")

    def to_json(self) -> dict:
        return {**vars(self), "penalty": f"{self.penalty:g}"}  # JSON has no infinity

    @classmethod
    def from_json(cls, kept: dict) -> "Objective":
        return cls(**{**kept, "penalty": float(kept["penalty"])})

    @property
    def title(self) -> str:
        """The objective in words, for tables."""
        plain = self.penalty == 0 and self.target_invalid_mass is None
        mass = f"mass {self.target_invalid_mass:g}" if self.target_invalid_mass is not None else ""
        parts = [
            "plain" if plain else mass or f"penalty {self.penalty:g}",
            "reverse" if self.reverse else "",
            f"JS {self.jensen_shannon:g}" if self.jensen_shannon is not None else "",
            f"τ {self.temperature:g}" if self.temperature != 1 else "",
            f"CE {self.cross_entropy:g}" if self.cross_entropy else "",
            f"mask on own samples × {self.on_policy_mask:g}" if self.on_policy_mask else "",
        ]
        return "distilled, " + ", ".join(filter(None, parts))


def answer_logits(model, batch: Batch) -> Tensor:
    """[N,V]: the logits that predict the answers' tokens.

    No attention mask: padding stands on the right and attention is causal, so no answer position can see it.
    """
    return model(input_ids=batch.tokens, use_cache=False).logits[batch.predicts]


def cross_entropy(model, batch: Batch) -> Tensor:
    return F.cross_entropy(answer_logits(model, batch).float(), batch.targets, reduction="none")


def distillation(student, teacher, batch: Batch, con, objective: Objective) -> Tensor:
    """The divergence of the objective, mixed with the answers' cross-entropy where it asks for that."""
    with torch.no_grad():
        teacher_logits = answer_logits(teacher, batch)
    return fmt.distillation_losses(
        answer_logits(student, batch),
        teacher_logits,
        batch.answer_states,
        con,
        batch.targets,
        objective.cross_entropy,
        penalty=objective.penalty,
        temperature=objective.temperature,
        reverse=objective.reverse,
        jensen_shannon=objective.jensen_shannon,
        target_invalid_mass=objective.target_invalid_mass,
    )


def format_loss(model, batch: Batch, con) -> Tensor:
    """-log of the mass on allowed tokens: what the schema alone has to say, without a teacher and without a label.

    As a divergence it is that from the model to itself under the constraint, KL(q_A ‖ q), of which only the right side
    learns; the gradient is that of -log q(A), too.
    """
    logits = answer_logits(model, batch)
    return fmt.constrained_kl(logits, logits, batch.answer_states, con, penalty=math.inf)
