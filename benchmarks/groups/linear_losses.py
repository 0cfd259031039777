"""Constrained distillation from hidden states, forward and backward: in chunks, beside all logits at once.

Both compare logits with the same kernel. What differs is how many logits there are at a time, and the products that
make them and their gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import fastmask.torch as fmt
from benchmarks.groups.losses import met_states, set_threads
from benchmarks.harness import Contender, Report
from benchmarks.peak import peak_bytes, tells_peak
from benchmarks.workloads import Workload, workloads

ROWS = 4096
STUDENT_WIDTH, TEACHER_WIDTH = 192, 768
OURS = "fastmask, in chunks"
WEIGHED = "fastmask, in chunks, positions weighed one by one"
AT_ONCE = "fastmask, all logits at once"


def run(report: Report) -> None:
    set_threads(report)
    problem = Problem(next(workloads(report.settings.quick)), rows=64 if report.settings.quick else ROWS)
    problem.require_agreement()
    race = report.race("linear_losses", problem.name, "s/position", problem.contenders(), OURS)
    report.find("linear_losses.time", problem.name, race.ratio(OURS, AT_ONCE), race.ratio_of_best(OURS, AT_ONCE))
    memory(problem, report)


class Problem:
    """Hidden states and heads at random, states in the order in which the corpus meets them."""

    def __init__(self, workload: Workload, rows: int) -> None:
        self.con = workload.constraint()
        self.states = met_states(workload, self.con, rows)
        draw = torch.Generator().manual_seed(0)
        (self.student, self.head), (self.teacher, self.teacher_head) = (
            (
                torch.randn(rows, width, generator=draw),
                torch.randn(self.con.vocab_size, width, generator=draw) * 3 / width**0.5,
            )
            for width in (STUDENT_WIDTH, TEACHER_WIDTH)
        )
        for leaf in self.leaves:
            leaf.requires_grad_()
        self.each = torch.rand(rows, generator=draw) / rows
        self.name = f"{workload.name} · {rows} rows"
        self.ways: dict[str, Callable[[slice], Tensor]] = {
            OURS: lambda rows: self.chunked(rows) / len(self.states),
            WEIGHED: lambda rows: self.chunked(rows) * self.each[rows],
            AT_ONCE: lambda rows: self.at_once(rows) / len(self.states),
        }

    @property
    def leaves(self) -> tuple[Tensor, Tensor]:
        return self.student, self.head

    def chunked(self, rows: slice) -> Tensor:
        return fmt.linear_constrained_kl(
            self.student[rows], self.head, self.teacher[rows], self.teacher_head, self.states[rows], self.con
        )

    def at_once(self, rows: slice) -> Tensor:
        logits = self.student[rows] @ self.head.T, self.teacher[rows] @ self.teacher_head.T
        return fmt.constrained_kl(*logits, self.states[rows], self.con)

    def step(self, name: str, rows: slice = slice(None)) -> None:
        for leaf in self.leaves:
            leaf.grad = None
        self.ways[name](rows).sum().backward()

    def foretell(self, name: str) -> None:
        """What is bet on weights was learnt in the steps before; here others had their turns between."""
        for _ in range(2):
            self.step(name, slice(8))
        for leaf in self.leaves:
            leaf.grad = None

    def contenders(self) -> dict[str, Contender]:
        return {
            name: Contender(lambda name=name: self.step(name), len(self.states), lambda name=name: self.foretell(name))
            for name in self.ways
        }

    def require_agreement(self) -> None:
        """Of gradients that forward foresaw, of those that backward made, and of losses."""
        found = []
        for chunked in (True, False):
            for weights in (torch.full_like(self.each, 1 / len(self.each)), self.each):
                for leaf in self.leaves:
                    leaf.grad = None
                losses = self.chunked(slice(None)) if chunked else self.at_once(slice(None))
                losses.backward(weights)
                found.append([losses.detach(), *(leaf.grad for leaf in self.leaves)])
        for one, other in ((found[0], found[2]), (found[1], found[3])):
            for a, b in zip(one, other, strict=True):
                # products of float32 come out differently, by some 1e-6, where their sizes do
                if not torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max())):
                    raise AssertionError(f"{OURS} and {AT_ONCE} differ by {float((a - b).abs().max())}")


def memory(problem: Problem, report: Report) -> None:
    """The most that a step holds beyond its inputs; gradients count, since both must have them."""
    if not tells_peak():
        report.note("linear_losses: peak memory left out, this system does not tell it")
        return
    peaks: dict[str, list[int]] = {name: [] for name in problem.ways}
    for _ in range(min(3, report.settings.rounds)):
        for name, samples in peaks.items():
            problem.foretell(name)
            samples.append(peak_bytes(lambda name=name: problem.step(name)))
    for name, samples in peaks.items():
        report.measure("linear_losses", f"{problem.name}, peak memory", name, "bytes", samples)
    report.find("linear_losses.memory", problem.name, max(peaks[OURS]) / min(peaks[AT_ONCE]))
