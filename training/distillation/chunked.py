"""The losses from hidden states, for large vocabularies: logits are made, compared and dropped in chunks of positions.

A batch's logits [N,V] are most of the memory of a small student with a large vocabulary, and its teacher's are as many
again. Here neither is ever held: `fastmask.torch.linear_constrained_kl` has what a model says before its output head,
and the head.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

import fastmask.torch as fmt
from training.data.examples import Batch
from training.distillation.instruction import Reading
from training.errors import TrainingError

CHUNK_BYTES = 40 << 20  # of float32 logits, for the cross-entropy


@dataclass(frozen=True, eq=False)
class Hidden:
    """What a model says at N positions, as `training.learning.losses.Logits` says it."""

    states: Tensor  # [N,H]: what the output head makes the logits of
    head: fmt.OutputHead

    @classmethod
    def of(cls, model, reading: Batch | Reading) -> "Hidden":
        """Of the logits, those of one position are made, for a model makes some."""
        output = model(**reading.inputs, use_cache=False, output_hidden_states=True, logits_to_keep=1)
        return cls(output.hidden_states[-1][reading.predicts], head_of(model))

    def divergence(self, taught: "Hidden", states: Tensor, con, **options) -> Tensor:
        return fmt.linear_constrained_kl(self.states, self.head, taught.states, taught.head, states, con, **options)

    def label_losses(self, targets: Tensor) -> Tensor:
        """Backward makes each chunk's logits again."""

        def of_chunk(some: Tensor, right: Tensor) -> Tensor:
            return F.cross_entropy(self.head.logits(some).float(), right, reduction="none")

        rows = max(1, CHUNK_BYTES // (4 * len(self.head.weight)))
        chunks = zip(self.states.split(rows), targets.split(rows), strict=True)
        return torch.cat([checkpoint(of_chunk, *chunk, use_reentrant=False) for chunk in chunks])


def head_of(model) -> fmt.OutputHead:
    model = getattr(model, "module", model)  # of a model that is spread over processes
    layer, config = model.get_output_embeddings(), model.config.get_text_config()
    return fmt.OutputHead(
        layer.weight,
        getattr(layer, "bias", None),
        scale=getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1.0),
        soft_cap=getattr(config, "final_logit_softcapping", None),
    )


@torch.no_grad()
def check_head(role: str, model: PreTrainedModel) -> None:
    """Raises TrainingError for a model that makes its logits in a way of its own, which `head_of` does not know."""
    ids = torch.arange(2, device=model.device)[None]
    both = Reading({"input_ids": ids}, torch.ones_like(ids, dtype=torch.bool))
    training = model.training
    expected = model.eval()(ids, use_cache=False).logits[0].float()
    try:
        said = Hidden.of(model, both)
        found = said.head.logits(said.states).float()
        known = torch.allclose(found, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))
    except (TypeError, AttributeError) as error:
        raise TrainingError(f"--chunked: the {role} does not show its hidden states: {error}") from error
    finally:
        model.train(training)
    if not known:
        raise TrainingError(
            f"--chunked: the {role}'s logits are not its output layer's product with its last hidden states, scaled"
            " and soft-capped as its configuration says; leave the option out"
        )
