"""The two losses, each a value for every answer position [N]: cross-entropy, and distillation.

Both leave the mean to the training loop, which divides by N: the loss then depends neither on padding nor on
how examples were grouped.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

import fastmask.torch as fmt
from training.examples import Batch


def answer_logits(model, batch: Batch) -> Tensor:
    """[N,V]: the logits that predict the answers' tokens.

    No attention mask: padding stands on the right and attention is causal, so no answer position can see it.
    """
    return model(input_ids=batch.tokens, use_cache=False).logits[batch.predicts]


def cross_entropy(model, batch: Batch) -> Tensor:
    return F.cross_entropy(answer_logits(model, batch).float(), batch.targets, reduction="none")


def distillation(student, teacher, batch: Batch, con, penalty: float) -> Tensor:
    """KL(teacher ‖ student), `penalty` taken off the teacher's disallowed logits; 0 is plain distillation."""
    with torch.no_grad():
        teacher_logits = answer_logits(teacher, batch)
    return fmt.constrained_kl(answer_logits(student, batch), teacher_logits, batch.answer_states, con, penalty=penalty)
