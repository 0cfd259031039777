"""One step of generation in transformers: the logits processor beside its peers', and its share of the step.

Processors are called as `generate` calls them, step by step along real answers, each answer a row of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

import fastmask as fm
from benchmarks.formats import ARTICLE
from benchmarks.harness import Contender, Report
from benchmarks.peers import installed
from benchmarks.peers.processors import PROCESSORS, Processor, ProcessorMaker, XGrammarProcessor
from benchmarks.texts import sentences
from benchmarks.workloads import Workload, encode, workloads
from fastmask.hf import ConstraintLogitsProcessor
from training.schema import answer

BATCHES = (1, 16, 64)
STEPS = 40
SHORT, LONG = 16, 2048  # tokens of the texts whose steps are compared
PEER_FROM = {16: "generation.batch", 64: "generation.batch", 1: "generation.single"}
OURS = "fastmask"


def run(report: Report) -> None:
    fm.set_num_threads(1)  # as the peers fill their masks
    for workload in workloads(report.settings.quick, [ARTICLE]):
        con = workload.constraint()
        for batch in BATCHES[:1] if report.settings.quick else BATCHES:
            beside_peers(report, workload, con, batch)
        as_texts_grow(report, workload, con)
    if not report.settings.quick:
        share_of_a_step(report)


# ---- beside the peers -----------------------------------------------------------------------------------


def beside_peers(report: Report, workload: Workload, con: fm.Constraint, batch: int) -> None:
    steps = prefixes(workload, batch, STEPS)
    scores = torch.randn(batch, con.vocab_size)
    contenders = {OURS: Contender(partial(generation, partial(ConstraintLogitsProcessor, con), steps, scores), STEPS)}
    require_masks(ConstraintLogitsProcessor(con), steps, scores, con)
    for peer in installed(report.note, PROCESSORS):
        make = processor_maker(peer, workload)
        require_allowed(make(), steps, scores, peer.name)
        contenders[peer.name] = Contender(partial(generation, make, steps, scores.clone()), STEPS)
    name = f"{workload.name}, batch {batch}"
    race = report.race("generation", name, "s/step", contenders, OURS)
    if XGrammarProcessor.name in contenders:
        report.find_ratio(PEER_FROM[batch], name, race, XGrammarProcessor.name, OURS)


@cache
def processor_maker(peer: type[ProcessorMaker], workload: Workload) -> ProcessorMaker:
    """Compiled once for all batches."""
    return peer(workload.tokenizer, workload.format.schema)


def generation(make: Callable[[], Processor], steps: list[Tensor], scores: Tensor) -> None:
    """One call of `generate`, without the model. The peers write into the scores, which are then masked already:
    that costs them no more and no less."""
    processor = make()
    for ids in steps:
        processor(ids, scores)


def prefixes(workload: Workload, batch: int, steps: int) -> list[Tensor]:
    """The ids [B, t] of each step, behind a prompt of no tokens, as with a prompt of embeddings."""
    rows = [answer[:steps] for answer in workload.answers if len(answer) >= steps]
    ids = torch.tensor((rows * (batch // len(rows) + 1))[:batch])
    return [ids[:, :t].contiguous() for t in range(steps)]


def require_masks(processor: Processor, steps: list[Tensor], scores: Tensor, con: fm.Constraint) -> None:
    """Exactly the allowed tokens' scores, at each step."""
    for ids in steps:
        states = con.walk(ids)[:, -1] if ids.shape[1] else torch.full((len(ids),), con.initial_state)
        expected = torch.where(con.allowed(states), scores, -torch.inf)
        if not torch.equal(processor(ids, scores), expected):
            raise AssertionError(f"the processor masks otherwise than {con!r} at step {ids.shape[1]}")


def require_allowed(processor: Processor, steps: list[Tensor], scores: Tensor, name: str) -> None:
    """The peer allows what comes next in every row, and not everything."""
    for ids, following in pairwise(steps):
        masked = processor(ids, scores.clone())
        if not masked.gather(1, following[:, -1:]).isfinite().all():
            raise AssertionError(f"{name} forbids token {ids.shape[1]} of an answer that it accepts")
        if masked.isfinite().all(1).any():
            raise AssertionError(f"{name} forbids nothing as token {ids.shape[1]} of an answer")


# ---- as texts grow --------------------------------------------------------------------------------------


def as_texts_grow(report: Report, workload: Workload, con: fm.Constraint) -> None:
    """The same step behind a short and behind a long text; a processor that begins anew each time would show."""
    text = long_answer(workload, report.settings.quick)
    states = con.walk([text])[0]
    scores = torch.randn(16, con.vocab_size)
    # One state, because a mask's cost depends on the state: write only, or copy.
    at = [length + int((states[length:] == states[SHORT]).argmax()) for length in (SHORT, 128, LONG)]
    contenders = {f"fastmask, behind {length} tokens": last_step(con, text[: length + 2], scores) for length in at}
    name = f"{workload.name}, batch 16"
    race = report.race("generation", name, "s/step", contenders)
    shortest, *_, longest = contenders
    report.find_ratio("generation.long", name, race, longest, shortest)


def long_answer(workload: Workload, quick: bool) -> list[int]:
    """One answer about as many words as it takes."""
    words = [word for words in sentences(quick) for word in words]
    return encode(workload.tokenizer, [answer(words[:LONG])])[0]


def last_step(con: fm.Constraint, text: list[int], scores: Tensor) -> Contender:
    """A step on and one back, in turn, so that there is always something new to read."""
    ids = torch.tensor(text).repeat(len(scores), 1)
    processor = ConstraintLogitsProcessor(con, prompt_length=0)
    steps = ids[:, :-1].contiguous(), ids

    def both() -> None:
        for step in steps:
            processor(step, scores)

    return Contender(both, len(steps))


# ---- its share of a step --------------------------------------------------------------------------------


def share_of_a_step(report: Report) -> None:
    """Beside one forward of a GPT-2 of 124 M parameters (untrained: its speed is the same) with its cache filled."""
    workload = next(workloads(formats=[ARTICLE]))
    con, model = workload.constraint(), gpt2(workload.vocabulary.size)
    for batch in BATCHES:
        ids = prefixes(workload, batch, STEPS)[-1]
        scores = torch.randn(batch, con.vocab_size)
        processor = ConstraintLogitsProcessor(con, prompt_length=0)
        contenders = {
            "forward of GPT-2, 124 M": Contender(forward(model, ids)),
            "fastmask": Contender(partial(processor, ids, scores)),
        }
        report.race("generation", f"share · {workload.name}, batch {batch}", "s/step", contenders, "fastmask")


def gpt2(vocab_size: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size)).eval()


def forward(model: Any, ids: Tensor) -> Callable[[], None]:
    """One token further behind `ids`; the cache is cropped back each time."""
    with torch.no_grad():
        cache = model(ids[:, :-1], use_cache=True).past_key_values

    @torch.no_grad()
    def step() -> None:
        model(ids[:, -1:], past_key_values=cache, use_cache=True)
        cache.crop(-1)

    return step
