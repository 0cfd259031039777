"""A student's own samples, each up to its first slip.

On the data's prefixes a student soon hardly strays; its samples fail on prefixes that only it writes, of which no data
tells. But the automaton knows what is allowed there, too, with no teacher and no label. So the student samples freely,
and `training.losses.format_loss` is taken at every position up to the first token that breaks the schema, that one
included. Behind it nothing is allowed any more, and nothing can be learnt.
"""

from collections.abc import Iterator
from itertools import cycle

import torch
from transformers import PreTrainedModel

from training.examples import NO_WORD, Batch, Example, collate, groups_by_length
from training.run import TOKENS_PER_BATCH, Run
from training.sampling import PROMPTS_AT_ONCE, continue_prompts


def own_samples(run: Run, student: PreTrainedModel) -> Iterator[Batch]:
    """Batches of what the student itself writes, for ever: sampled for many prompts at once, then served in turn."""
    for examples in cycle(_prompts_at_once(run.train)):
        student.eval()
        answers = continue_prompts(student, examples, run.tokenizer.eos_token_id, run.settings.max_length)
        samples = up_to_first_slips(examples, answers, run.con)
        for group in groups_by_length(samples, TOKENS_PER_BATCH):
            yield collate(group, run.con, student.device)


def up_to_first_slips(examples: list[Example], answers: list[list[int]], con) -> list[Example]:
    """The prompts with these answers behind them, cut behind the token that broke the schema, or behind EOS."""
    checked = con.check(answers)
    samples = []
    for example, answer, slip in zip(examples, answers, checked.first_error.tolist(), strict=True):
        kept = answer[: slip + 1] if slip >= 0 else answer
        tokens = [*example.prompt, *kept]
        samples.append(Example(example.name, tokens, example.start, [NO_WORD] * len(tokens)))
    return samples


def _prompts_at_once(examples: list[Example]) -> list[list[Example]]:
    """In an order of their own, so that prompts of all lengths meet."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = [examples[i] for i in order]
    return [shuffled[i : i + PROMPTS_AT_ONCE] for i in range(0, len(shuffled), PROMPTS_AT_ONCE)]
