"""A student's own samples, each up to its first slip.

On the data's prefixes a student soon hardly strays; its samples fail on prefixes that only it writes, of which no data
tells. But the automaton knows what is allowed there, too, with no teacher and no label. So the student samples freely,
and `training.losses.format_loss` is taken at every position up to the first token that breaks the schema, that one
included; or the divergence from the constrained teacher, on-policy distillation (GKD, Agarwal et al. 2024,
arXiv:2306.13649). Behind it nothing is allowed any more, and nothing can be learnt.
"""

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

import fastmask as fm
from training.examples import NO_WORD, Batch, Example, collate, groups_by_length
from training.gradients import Term
from training.losses import format_loss
from training.processes import processes
from training.run import TOKENS_PER_BATCH, Run
from training.sampling import PROMPTS_AT_ONCE, continue_prompts
from training.streams import fingerprint


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
        eos = self.run.tokenizer.eos_token_id
        answers = continue_prompts(
            self.student, examples, eos, self.run.settings.max_length, [EndBehindSlip(self.run.con, eos)]
        )
        return groups_by_length(up_to_first_slips(examples, answers, self.run.con), TOKENS_PER_BATCH)


class EndBehindSlip(LogitsProcessor):
    """Lets nothing but EOS follow the token that broke the schema: all else would be sampled to be thrown away.

    For one generation. What stands before is sampled as it would be without this.
    """

    def __init__(self, con, eos: int) -> None:
        self.con, self.eos = con, eos
        self.states: Tensor | None = None  # [B]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.states is None:  # behind the prompt
            self.states = torch.full((len(input_ids),), self.con.initial_state)
        else:
            self.states = self.con.advance(self.states, input_ids[:, -1].cpu())
        broken = (self.states == fm.DEAD).to(scores.device)
        ended = torch.full_like(scores, -torch.inf)
        ended[:, self.eos] = 0.0
        return torch.where(broken[:, None], ended, scores)


def format_term(run: Run, student: PreTrainedModel, weight: float) -> Term:
    """The format, learnt on the student's own samples."""
    return Term("format", OwnSamples(run, student), partial(format_loss, con=run.con), weight)


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
