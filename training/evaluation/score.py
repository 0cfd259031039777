"""What a model thinks of right answers that it never saw, position by position.

Three figures are cheap enough to look at while it learns; an evaluation looks closer.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

import fastmask.torch as fmt
from fastmask.canonical import spelling
from training.data.examples import NO_WORD, Example, collate, groups_by_length
from training.evaluation.tagging import macro_f1, read_gold, read_tags
from training.learning.losses import answer_logits
from training.learning.models import context_length
from training.run import TOKENS_PER_BATCH

ROWS_AT_ONCE = 16  # of texts that are gone on with
LONGEST_TAG = 16  # tokens


@dataclass(frozen=True)
class Wrong:
    """A tag that the model would not have written."""

    example: Example
    word: int  # its number in the example
    ids: list[int]  # the right answer up to the tag, and the first token of it that the model chose otherwise


@dataclass
class Opinion:
    """What a model thinks of right answers, and what it would have written in place of their tags."""

    losses: list[Tensor] = field(default_factory=list)  # [N] each: nats
    masses: list[Tensor] = field(default_factory=list)  # [N] each: on tokens that the schema forbids
    words: int = 0
    wrong: list[Wrong] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        found = {
            "loss": torch.cat(self.losses).double().mean().item(),
            "invalid_mass": torch.cat(self.masses).double().mean().item(),
        }
        if self.words:
            found["tag_accuracy"] = 1 - len(self.wrong) / self.words
        return found


def score(model: PreTrainedModel, examples: list[Example], con) -> dict[str, float]:
    """Three figures over the right answers.

    loss: cross-entropy, in nats a token. invalid_mass: the probability on tokens that the schema forbids; both are
    means over positions. tag_accuracy: the share of words whose tag is the model's first choice among the allowed
    tokens, given the right answer so far; absent where there are no tags. Comparing with a sampled answer would be the
    plainer measure, but a small model that skips one word would then be wrong about all that follow, and the figure
    would no longer be about tags.
    """
    return opinion(model, examples, con).figures()


def score_closely(model: PreTrainedModel, examples: list[Example], con) -> dict[str, float]:
    """The figures of `score`, and besides them:

    invalid_mass_median and invalid_mass_p99, over positions. tag_macro_f1: the mean of the tags' F1, so that a rare tag
    counts as much as a common one. What a model would have written in place of a tag is read on from its first choice.
    """
    found = opinion(model, examples, con)
    median, p99 = np.quantile(torch.cat(found.masses).cpu().numpy(), (0.5, 0.99))
    figures = found.figures() | {"invalid_mass_median": float(median), "invalid_mass_p99": float(p99)}
    gold = read_gold([spelling(example.answer, con.vocabulary) for example in examples])
    if gold is not None and found.words == sum(map(len, gold)):
        right = [[tag for _, tag in words] for words in gold]
        written = [list(tags) for tags in right]
        place = {id(example): i for i, example in enumerate(examples)}
        for wrong, tag in zip(found.wrong, tags_written(model, found.wrong, con), strict=True):
            written[place[id(wrong.example)]][wrong.word] = tag
        figures["tag_macro_f1"] = macro_f1(list(chain(*right)), list(chain(*written)))
    return figures


@torch.inference_mode()
def opinion(model: PreTrainedModel, examples: list[Example], con) -> Opinion:
    model.eval()
    found = Opinion()
    for group in groups_by_length(examples, TOKENS_PER_BATCH):
        batch = collate(group, con, model.device)
        logits = answer_logits(model, batch).float()  # [N,V]
        found.losses.append(F.cross_entropy(logits, batch.targets, reduction="none"))
        found.masses.append(fmt.invalid_mass(logits, batch.answer_states, con))
        choice = fmt.mask_logits(logits, batch.answer_states, con).argmax(-1)  # [N]
        words = batch.target_words  # [N]
        found.words += words[words != NO_WORD].unique().numel()
        rows, times = batch.predicts.nonzero(as_tuple=True)  # [N] each
        # A tag of several tokens is right when all of them are.
        met: set[int] = set()
        for n in ((words != NO_WORD) & (choice != batch.targets)).nonzero().flatten().tolist():
            if (word := int(words[n])) in met:
                continue
            met.add(word)
            example = group[int(rows[n])]
            ids = [*example.tokens[example.start : int(times[n]) + 1], int(choice[n])]
            found.wrong.append(Wrong(example, word % batch.tokens.shape[1], ids))
    return found


def tags_written(model: PreTrainedModel, wrongs: list[Wrong], con) -> list[str]:
    """The tags that the model writes, taking the likeliest allowed tokens, from its first wrong choices on.

    "" where it comes to none: a token before the tag may be wrong, too, and the word itself go on for ever.
    """
    found = [""] * len(wrongs)
    going_on = dict(enumerate(wrongs))
    for _ in range(LONGEST_TAG):
        for i, wrong in list(going_on.items()):
            state = int(con.walk([wrong.ids])[0, -1])
            tags = read_tags(spelling(wrong.ids, con.vocabulary) + con.forced_bytes(state))
            found[i] = tags[wrong.word] if len(tags) > wrong.word else ""
            if found[i]:
                del going_on[i]
        tokens = likeliest_tokens(model, list(going_on.values()), con)
        going_on = {
            i: Wrong(wrong.example, wrong.word, [*wrong.ids, token])
            for (i, wrong), token in zip(going_on.items(), tokens, strict=True)
        }
    return found


@torch.inference_mode()
def likeliest_tokens(model: PreTrainedModel, texts: list[Wrong], con) -> Iterator[int]:
    """The likeliest allowed token behind each text."""
    context = context_length(model.config) or sys.maxsize
    for begin in range(0, len(texts), ROWS_AT_ONCE):
        rows = [[*text.example.prompt, *text.ids][-context:] for text in texts[begin : begin + ROWS_AT_ONCE]]
        last = [len(row) - 1 for row in rows]
        padded = torch.zeros(len(rows), max(last) + 1, dtype=torch.long)  # on the right, where nothing is read
        for b, row in enumerate(rows):
            padded[b, : len(row)] = torch.tensor(row)
        logits = model(input_ids=padded.to(model.device), use_cache=False).logits[range(len(rows)), last].float()
        states = con.walk([text.ids for text in texts[begin : begin + ROWS_AT_ONCE]])[:, -1]
        yield from fmt.mask_logits(logits, torch.from_numpy(states).to(logits.device), con).argmax(-1).tolist()
