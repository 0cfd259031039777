"""A step of distillation in the article's settings, forward and backward: what the constraint costs beside plain KL.

The student is the article's, 12 layers of 192 under GPT-2's vocabulary; the teacher has one layer, for what it says
takes part in every way alike. A step is states, both models, loss and backward, on text whose states are not known yet.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import fastmask.torch as fmt
from benchmarks.groups.losses import EAGER, PENALTY, set_threads, with_mask
from benchmarks.harness import Contender, Report
from benchmarks.peak import peak_bytes, tells_peak
from benchmarks.workloads import Workload, workloads
from training.data.examples import NO_WORD, Batch, Example, collate
from training.learning.losses import Objective, answer_logits, distillation
from training.learning.models import tiny_gpt2

TEXTS, LENGTH = 8, 128  # tokens of each, all but the first of the answer
STUDENT_LAYERS, WIDTH = 12, 192
OURS, CHUNKED, PLAIN = "constrained, fastmask", "constrained, fastmask in chunks", "plain KL, eager torch"


def run(report: Report) -> None:
    set_threads(report)
    problem = Problem(next(workloads(report.settings.quick)), report.settings.quick)
    problem.require_agreement()
    steps = {name: Contender(partial(problem.step, way), problem.positions) for name, way in problem.ways.items()}
    race = report.race("training_step", problem.name, "s/position", steps, OURS)
    report.find_ratio("training_step.time", problem.name, race, PLAIN, OURS)
    losses = {name: Contender(way, problem.positions) for name, way in problem.losses().items()}
    race = report.race("training_step", f"{problem.name}, without the models", "s/position", losses, OURS)
    report.find_ratio("training_step.loss", problem.name, race, PLAIN, OURS)
    memory(problem, report)


class Problem:
    """Models with fresh weights, and the longest answers of the corpus, cut to one length."""

    def __init__(self, workload: Workload, quick: bool) -> None:
        self.con = workload.constraint()
        eos = workload.vocabulary.eos_token_ids[0]
        texts, layers = (2, 2) if quick else (TEXTS, STUDENT_LAYERS)
        longest = sorted(workload.answers, key=len, reverse=True)[:texts]
        rows = [[eos, *answer[: LENGTH - 1]] for answer in longest]
        self.examples = [Example("", row, 1, [NO_WORD] * len(row)) for row in rows]
        self.student, self.teacher = (
            tiny_gpt2(layers=depth, width=WIDTH, vocab_size=self.con.vocab_size, context=LENGTH, eos=eos, seed=depth)
            for depth in (layers, 1)
        )
        self.positions = int(collate(self.examples, self.con).predicts.sum())
        self.name = f"{workload.name} · student of {layers} × {WIDTH} · {self.positions} positions"
        self.ways: dict[str, Callable[[Batch], Tensor]] = {
            OURS: lambda batch: distillation(self.student, self.teacher, batch, self.con, Objective(PENALTY)),
            CHUNKED: self.chunked,
            f"constrained, {EAGER.replace('at hand', 'made')}": self.masked,
            PLAIN: self.plain,
        }

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            teacher = answer_logits(self.teacher, batch)
        return answer_logits(self.student, batch), teacher

    def plain(self, batch: Batch) -> Tensor:
        return plain_kl(*self.logits(batch))

    def masked(self, batch: Batch) -> Tensor:
        return with_mask(*self.logits(batch), self.con.allowed(batch.answer_states))

    def chunked(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            teacher = hidden(self.teacher, batch)
        heads = self.student.lm_head.weight, self.teacher.lm_head.weight
        return fmt.linear_constrained_kl(
            hidden(self.student, batch), heads[0], teacher, heads[1], batch.answer_states, self.con, penalty=PENALTY
        )

    def step(self, loss: Callable[[Batch], Tensor]) -> None:
        self.student.zero_grad()
        loss(collate(self.examples, self.con)).mean().backward()

    def peak(self, loss: Callable[[Batch], Tensor]) -> int:
        self.student.zero_grad()
        return peak_bytes(partial(self.step, loss))

    def losses(self) -> dict[str, Callable[[], None]]:
        """States, masks and loss, of logits that are there."""
        batch = collate(self.examples, self.con)
        with torch.no_grad():
            student, teacher = self.logits(batch)
        student.requires_grad_()

        def step(loss: Callable[[], Tensor]) -> None:
            student.grad = None
            loss().mean().backward()

        def states() -> Tensor:
            return collate(self.examples, self.con).answer_states

        return {
            OURS: lambda: step(lambda: fmt.constrained_kl(student, teacher, states(), self.con, penalty=PENALTY)),
            PLAIN: lambda: step(lambda: plain_kl(student, teacher)),
        }

    def gradient(self, loss: Callable[[Batch], Tensor]) -> Tensor:
        self.step(loss)
        return torch.cat([parameter.grad.flatten() for parameter in self.student.parameters()])

    def require_agreement(self) -> None:
        """Of the three constrained ways; and of the plain one with ours at no penalty."""
        ours, *others, plain = (self.gradient(way) for way in self.ways.values())
        unpenalised = self.gradient(
            lambda batch: distillation(self.student, self.teacher, batch, self.con, Objective(penalty=0))
        )
        for one, other in [*((ours, other) for other in others), (unpenalised, plain)]:
            # sums of 50,257 float32 numbers, and of many such sums
            if not torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max())):
                raise AssertionError(f"gradients differ by {float((one - other).abs().max())}")


def plain_kl(student: Tensor, teacher: Tensor) -> Tensor:
    log_p = teacher.log_softmax(-1)
    return (log_p.exp() * (log_p - student.log_softmax(-1))).sum(-1)


def hidden(model, batch: Batch) -> Tensor:
    """[N,H]: what the head makes the answers' logits of."""
    return model.transformer(input_ids=batch.tokens, use_cache=False).last_hidden_state[batch.predicts]


def memory(problem: Problem, report: Report) -> None:
    """The most that a step holds beyond what the models alone need for a step."""
    if not tells_peak():
        report.note("training_step: peak memory left out, this system does not tell it")
        return

    def models_alone(batch: Batch) -> Tensor:
        with torch.no_grad():
            hidden(problem.teacher, batch)
        return hidden(problem.student, batch)

    matrix = problem.positions * problem.con.vocab_size * 4
    for name, way in problem.ways.items():
        peaks = []
        for _ in range(min(3, report.settings.rounds)):
            alone, whole = (problem.peak(loss) for loss in (models_alone, way))
            peaks.append(max(mmap.PAGESIZE, whole - alone))
        report.measure("training_step", f"{problem.name}, peak memory", name, "bytes", peaks)
        if target := {OURS: "training_step.memory", CHUNKED: "training_step.chunked_memory"}.get(name):
            report.find(target, problem.name, max(peaks) / matrix)
