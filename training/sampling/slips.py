"""What a model writes freely, up to its first slip: a row is dropped as soon as it breaks the schema, or ends.

A fresh student's samples break off after a few tokens, and `generate` would write on behind them all. This takes half
of its time and less.
"""

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

import fastmask as fm
from training.data.examples import Example
from training.learning.models import position_ids
from training.sampling.answers import padded_prompts, room_for_answers


@torch.no_grad()
def sample_up_to_slips(
    model: PreTrainedModel, examples: list[Example], con: fm.Constraint, eos: int, max_length: int
) -> list[list[int]]:
    """An answer behind each prompt, sampled at temperature 1, up to and with the token that breaks the schema, or EOS.

    At most as long as `training.sampling.answers.continue_prompts` would make it. Draws from torch's global generator.
    The model keeps its past in a `DynamicCache`, as transformers' attention models do.
    """
    tokens, mask = (each.to(model.device) for each in padded_prompts(examples, eos))  # [R,P], R rows still writing
    answers: list[list[int]] = [[] for _ in examples]
    writing = torch.arange(len(examples))  # [R]: whose rows those are
    states = torch.full((len(examples),), con.initial_state, dtype=torch.int32)  # [R]
    past = DynamicCache(config=model.config)
    for _ in range(room_for_answers(examples, max_length)):
        logits = model(
            tokens, attention_mask=mask, past_key_values=past, use_cache=True, logits_to_keep=1,
            **position_ids(model, mask, tokens.shape[1]),
        ).logits[:, -1]  # fmt: skip
        tokens = draw(logits)  # [R,1]
        chosen = tokens[:, 0].cpu()
        states = con.advance(states, chosen)
        for row, token in zip(writing.tolist(), chosen.tolist(), strict=True):
            answers[row].append(token)
        on = ((chosen != eos) & (states != fm.DEAD)).nonzero().flatten()
        if not len(on):
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if len(on) < len(states):
            writing, states = writing[on], states[on]
            tokens, mask = tokens[on.to(model.device)], mask[on.to(model.device)]
            past.batch_select_indices(on.to(model.device))
    return answers


def draw(logits: Tensor) -> Tensor:
    """int64 [R,1]: a token from each row of [R,V], where a uniform number falls among the cumulated probabilities.

    `torch.multinomial` draws a number for every token of the vocabulary, and took a quarter of the time.
    """
    cumulated = logits.float().softmax(dim=-1).cumsum(dim=-1)
    point = torch.rand(len(logits), 1, device=logits.device) * cumulated[:, -1:]
    return torch.searchsorted(cumulated, point, right=True).clamp_(max=logits.shape[1] - 1)
