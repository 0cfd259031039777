"""A model's figures on right answers that it never saw: cheap enough to look at while it learns."""

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

import fastmask.torch as fmt
from training.examples import NO_WORD, Example, collate, groups_by_length
from training.losses import answer_logits
from training.run import TOKENS_PER_BATCH


@torch.inference_mode()
def score(model: PreTrainedModel, examples: list[Example], con) -> dict[str, float]:
    """Means over the right answers' positions; the last one only where answers have tags.

    loss: cross-entropy, in nats a token. invalid_mass: the probability on tokens that the schema forbids.
    tag_accuracy: the share of words whose tag is the model's first choice among the allowed tokens, given the
    right answer so far. Comparing with a sampled answer would be the plainer measure, but a small model that
    skips one word would then be wrong about all that follow, and the figure would no longer be about tags.
    """
    model.eval()
    positions = words = right = 0
    loss = mass = 0.0
    for group in groups_by_length(examples, TOKENS_PER_BATCH):
        batch = collate(group, con, model.device)
        logits = answer_logits(model, batch).float()  # [N,V]
        loss += F.cross_entropy(logits, batch.targets, reduction="sum").item()
        mass += fmt.invalid_mass(logits, batch.answer_states, con).sum().item()
        choice = fmt.mask_logits(logits, batch.answer_states, con).argmax(-1)  # [N]
        in_tag = batch.target_words != NO_WORD  # a tag of several tokens is right when all of them are
        wrong = batch.target_words[in_tag & (choice != batch.targets)].unique().numel()
        in_batch = batch.target_words[in_tag].unique().numel()
        words, right, positions = words + in_batch, right + in_batch - wrong, positions + len(choice)
    scores = {"loss": loss / positions, "invalid_mass": mass / positions}
    return {**scores, "tag_accuracy": right / words} if words else scores
