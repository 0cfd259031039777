"""A student's own samples, each up to its first slip.

On the data's prefixes a student soon hardly strays; its samples fail on prefixes that only it writes, of which no data
tells. But the automaton knows what is allowed there, too, with no teacher and no label. So the student samples freely,
and `training.learning.losses.format_loss` is taken at every position up to the first token that breaks the schema,
that one included; or the divergence from the constrained teacher, on-policy distillation (GKD, Agarwal et al. 2024,
arXiv:2306.13649). Behind it nothing is allowed any more, and nothing can be learnt.
"""

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from training.data.examples import NO_WORD, Batch, Example, collate, groups_by_length
from training.learning.gradients import Term
from training.learning.losses import format_loss, require_own_samples
from training.learning.processes import processes
from training.learning.streams import fingerprint
from training.run import TOKENS_PER_BATCH, Run
from training.sampling.answers import PROMPTS_AT_ONCE
from training.sampling.slips import sample_up_to_slips


class OwnSamples:
    """A stream of what the student itself writes: sampled for many prompts at once, then served in turn.

    The draws are those of torch's global generator. Of several processes each answers prompts of its own.
    """

    def __init__(self, run: Run, student: PreTrainedModel) -> None:
        self.run, self.student = run, student
        self.fingerprint = fingerprint(run.train, PROMPTS_AT_ONCE, TOKENS_PER_BATCH)
        self.prompts = _prompts_at_once(run.train)
        self.sampled = processes().process_index  # of the prompts, counted on and on: those that come next
        self.waiting: list[list[Example]] = []  # sampled with an earlier student, and not served yet

    def __iter__(self) -> "OwnSamples":
        return self

    def __next__(self) -> Batch:
        if not self.waiting:
            self.waiting = self._sample(self.prompts[self.sampled % len(self.prompts)])
            self.sampled += processes().num_processes
        return collate(self.waiting.pop(0), self.run.con, self.student.device)

    def state_dict(self) -> dict[str, Any]:
        return {"sampled": self.sampled, "waiting": [[asdict(example) for example in group] for group in self.waiting]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sampled = state["sampled"]
        self.waiting = [[Example(**example) for example in group] for group in state["waiting"]]

    def _sample(self, examples: list[Example]) -> list[list[Example]]:
        self.student.eval()
        eos, room = self.run.tokenizer.eos_token_id, self.run.settings.max_length
        answers = sample_up_to_slips(self.student, examples, self.run.con, eos, room)
        return groups_by_length([_sampled(*pair) for pair in zip(examples, answers, strict=True)], TOKENS_PER_BATCH)


def format_term(run: Run, student: PreTrainedModel, weight: float, begins: float) -> Term:
    """The format, learnt on the student's own samples.

    Raises:
        TrainingError: a weight that is negative or not finite; samples that would never begin.
    """
    require_own_samples(weight, begins)
    return Term("format", OwnSamples(run, student), partial(format_loss, con=run.con), weight, begins)


def _sampled(prompted: Example, answer: list[int]) -> Example:
    tokens = [*prompted.prompt, *answer]
    return Example(prompted.name, tokens, prompted.start, [NO_WORD] * len(tokens))


def _prompts_at_once(examples: list[Example]) -> list[list[Example]]:
    """In an order of their own, so that prompts of all lengths meet."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = [examples[i] for i in order]
    return [shuffled[i : i + PROMPTS_AT_ONCE] for i in range(0, len(shuffled), PROMPTS_AT_ONCE)]
