"""Answers that a model writes, free or held to the schema, and what became of each.

Sampled at temperature 1 with nothing cut away: greedy decoding hides most of what a model would say. It is what many
use, though, and so there are greedy answers, too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel

import fastmask as fm
from fastmask.canonical import spelling
from fastmask.corpus.expected import mismatch
from fastmask.hf import ConstraintLogitsProcessor
from training.data.examples import Example
from training.run import Run

PROMPTS_AT_ONCE = 64
CONTEXT = 12  # characters before a break that tell its place
VERDICTS = ("valid", "invalid", "ended early", "cut off")


class Way(NamedTuple):
    """How tokens are chosen."""

    constrained: bool
    greedy: bool


WAYS = {
    "free": Way(constrained=False, greedy=False),
    "constrained": Way(constrained=True, greedy=False),
    "free, greedy": Way(constrained=False, greedy=True),
    "constrained, greedy": Way(constrained=True, greedy=True),
}


@dataclass(frozen=True)
class Slip:
    """The token that broke an answer."""

    byte: int  # of the answer, at which the token begins
    token: bytes  # b"" for the end
    got: str  # the first character that does not fit, in quotation marks, or "the end of the text"
    expected: str  # what could have stood there, in words


@dataclass(frozen=True)
class Answer:
    """What a model wrote, and what became of it.

    valid: complete, and within the schema. invalid: a token broke it. ended early: what stands there is within the
    schema, and the end came before it was complete. cut off: the same, and the room ran out before the end.
    """

    raw: bytes
    verdict: str
    slip: Slip | None  # of what is invalid or ended early

    @property
    def text(self) -> str:
        return self.raw.decode(errors="replace")

    @property
    def kept(self) -> bytes:
        """What stands before the token that broke it, or all."""
        return self.raw if self.slip is None else self.raw[: self.slip.byte]


def sample(
    run: Run, model: PreTrainedModel, examples: list[Example], way: str, *, title: str, seed: int | None = None
) -> list[Answer]:
    """One answer for each example's prompt; the run's seed decides, unless another is given."""
    torch.manual_seed(run.settings.seed if seed is None else seed)
    con = run.con if WAYS[way].constrained else None
    groups = [examples[i : i + PROMPTS_AT_ONCE] for i in range(0, len(examples), PROMPTS_AT_ONCE)]
    answers: list[list[int]] = []
    for group in tqdm(groups, desc=f"{title}, {way}", unit="batch", dynamic_ncols=True):
        answers += continue_prompts(
            model, group, run.tokenizer.eos_token_id, run.settings.max_length, con, greedy=WAYS[way].greedy
        )
    return judged(answers, run.con)


def continue_prompts(
    model: PreTrainedModel,
    examples: list[Example],
    eos: int,
    max_length: int,
    con: fm.Constraint | None = None,
    *,
    greedy: bool = False,
) -> list[list[int]]:
    """What the model writes behind each prompt, under a constraint if one is given: ids, up to the first EOS.

    At most half as long again as the longest right answer, where one is known; constrained answers end in time.
    """
    prompts, mask = padded_prompts(examples, eos)
    room = room_for_answers(examples, max_length)
    drawn = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    config = GenerationConfig(
        **drawn,
        max_new_tokens=room, eos_token_id=eos, pad_token_id=eos,
    )  # fmt: skip
    with without_habits(model):
        texts = model.generate(
            prompts.to(model.device), attention_mask=mask.to(model.device),
            generation_config=config,
            logits_processor=[ConstraintLogitsProcessor(con, max_new_tokens=room)] if con else [],
        )  # fmt: skip
    return [ids[: ids.index(eos) + 1] if eos in ids else ids for ids in texts[:, prompts.shape[1] :].tolist()]


@contextmanager
def without_habits(model: PreTrainedModel) -> Iterator[None]:
    """What a pretrained model's own configuration asks of `generate`, such as a penalty on repetition, is left out.

    transformers takes from there all that a call does not name, and answers would no longer be the model's own.
    """
    kept, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept


def room_for_answers(examples: list[Example], max_length: int) -> int:
    """Tokens at most behind each prompt, when all are continued together."""
    longest, start = max(len(example.answer) for example in examples), max(example.start for example in examples)
    return room_behind(start, longest, max_length)


def room_behind(start: int, longest: int, max_length: int) -> int:
    """Tokens at most behind a prompt of `start`: half as many again as the longest right answer has, if that is any."""
    room = max_length - start
    return min(longest * 3 // 2 or room, room)


def padded_prompts(examples: list[Example], eos: int) -> tuple[Tensor, Tensor]:
    """int64 [B,P] each: the prompts, padded on the left, and 1 where they are not padding."""
    width = max(example.start for example in examples)
    prompts = torch.full((len(examples), width), eos)
    mask = torch.zeros_like(prompts)
    for b, example in enumerate(examples):
        prompts[b, width - example.start :] = torch.tensor(example.prompt)
        mask[b, width - example.start :] = 1
    return prompts, mask


def judged(answers: list[list[int]], con) -> list[Answer]:
    """Each answer as text, with its verdict and the place where it broke."""
    checked = con.check(answers)
    found = []
    for ids, error, complete in zip(answers, checked.first_error.tolist(), checked.complete.tolist(), strict=True):
        verdict, slip = "valid" if complete else "cut off", None
        if error >= 0:
            verdict = "ended early" if ids[error] in con.vocabulary.eos_token_ids else "invalid"
            slip = _slip(ids, error, con)
        found.append(Answer(spelling(ids, con.vocabulary), verdict, slip))
    return found


def judge(answers: list[list[int]], con) -> list[str]:
    """The verdicts alone."""
    return [answer.verdict for answer in judged(answers, con)]


def _slip(ids: list[int], error: int, con) -> Slip:
    before, token = ids[:error], ids[error]
    state = int(con.walk([before])[0, -1]) if before else con.initial_state
    found = mismatch(con, state, token)
    return Slip(
        byte=len(spelling(before, con.vocabulary)),
        token=spelling([token], con.vocabulary),
        got=found.got,
        expected=found.expected,
    )
