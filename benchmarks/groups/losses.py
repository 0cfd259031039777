"""Constrained distillation, forward and backward: beside torch with a boolean mask, eager and compiled, and beside the
memory traffic that no loss with a gradient can do without; the other functions beside themselves in plain torch.

That floor: two logits read and one gradient written, 12 bytes an element, at the rate at which this machine copies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fastmask as fm
import fastmask.torch as fmt
from benchmarks.harness import Contender, Report
from benchmarks.peak import peak_bytes, tells_peak
from benchmarks.workloads import Workload, padded, workloads

ROWS = 512
FEW_ROWS = 64
PENALTY = 10.0
THREADS = 2
FLOOR_BYTES = 12
OURS = "fastmask"


def run(report: Report) -> None:
    set_threads(report)
    workload = next(workloads(report.settings.quick))
    problem = Problem(workload, rows=16 if report.settings.quick else ROWS)
    contenders = {name: problem.contender(loss) for name, loss in losses(problem, report).items()}
    contenders["12 bytes an element, at this machine's rate of copying"] = problem.floor()
    race = report.race("losses", problem.name, "s/element", contenders, OURS)
    for target, name in zip(("losses.eager", "losses.compiled"), (EAGER, COMPILED), strict=True):
        if name in contenders:
            report.find_ratio(target, problem.name, race, name, OURS)
    report.find_ratio("losses.traffic", problem.name, race, OURS, list(contenders)[-1])
    mixed = {name: problem.contender(loss) for name, loss in mixed_losses(problem).items()}
    report.race("losses", f"{problem.name} · Jensen-Shannon", "s/element", mixed, OURS)
    memory(problem, report)
    without_masks(Problem(workload, rows=16 if report.settings.quick else FEW_ROWS), report)


def set_threads(report: Report) -> None:
    """One, where times mean nothing: two that wait for each other take long on a machine that is busy."""
    threads = 1 if report.settings.quick else THREADS
    torch.set_num_threads(threads)
    fm.set_num_threads(threads)


class Problem:
    """Logits at random, states in the order in which the corpus meets them."""

    def __init__(self, workload: Workload, rows: int) -> None:
        self.con = workload.constraint()
        self.states = met_states(workload, self.con, rows)
        self.allowed = self.con.allowed(self.states)
        draw = torch.Generator().manual_seed(0)
        self.student, self.teacher = (torch.randn(rows, self.con.vocab_size, generator=draw) * 3 for _ in range(2))
        self.student.requires_grad_()
        self.name = f"{workload.name} · {rows} rows"

    def step(self, loss: Callable[[], Tensor]) -> None:
        self.student.grad = None
        loss().mean().backward()

    def contender(self, loss: Callable[[], Tensor]) -> Contender:
        return Contender(lambda: self.step(loss), self.student.numel())

    def floor(self) -> Contender:
        """Copying moves 8 bytes an element; a unit is what 12 bytes take."""
        source, out = self.teacher, torch.empty_like(self.teacher)
        return Contender(lambda: out.copy_(source), 2 * source.element_size() * source.numel() // FLOOR_BYTES)


def met_states(workload: Workload, con: fm.Constraint, rows: int) -> Tensor:
    """The states of the workload's answers, one after another; from the first again if there are too few."""
    tokens, lengths = padded(workload.answers)
    walked = con.walk(tokens, lengths=lengths)
    return torch.from_numpy(np.resize(walked[np.arange(walked.shape[1]) < lengths[:, None]], rows))


EAGER, COMPILED = "torch, eager, mask at hand", "torch.compile, mask at hand"


def losses(problem: Problem, report: Report) -> dict[str, Callable[[], Tensor]]:
    """Every way to have the loss, after a look at whether they agree."""
    student, teacher, states, con = problem.student, problem.teacher, problem.states, problem.con
    ways: dict[str, Callable[[], Tensor]] = {
        OURS: lambda: fmt.constrained_kl(student, teacher, states, con, penalty=PENALTY, engine="fused"),
        "fastmask, plain torch": lambda: fmt.constrained_kl(
            student, teacher, states, con, penalty=PENALTY, engine="torch"
        ),
        EAGER: lambda: with_mask(student, teacher, problem.allowed),
    }
    compiled = torch.compile(with_mask)
    try:
        problem.step(lambda: compiled(student, teacher, problem.allowed))
        ways[COMPILED] = lambda: compiled(student, teacher, problem.allowed)
    except Exception as error:  # no compiler at hand shows itself in many ways
        report.note(f"losses: torch.compile left out, {type(error).__name__}: {str(error).splitlines()[0][:100]}")
    require_agreement(problem, ways)
    return ways


def with_mask(student: Tensor, teacher: Tensor, allowed: Tensor) -> Tensor:
    """What one would write: the penalty by a boolean mask, two log-softmaxes, the sum."""
    log_p = torch.where(allowed, teacher, teacher - PENALTY).log_softmax(-1)
    return (log_p.exp() * (log_p - student.log_softmax(-1))).sum(-1)


def mixed_losses(problem: Problem) -> dict[str, Callable[[], Tensor]]:
    """The divergence of Jensen and Shannon with equal shares, after the same look."""
    student, teacher, states, con = problem.student, problem.teacher, problem.states, problem.con
    options = {"penalty": PENALTY, "jensen_shannon": 0.5, "engine": "fused"}
    ways: dict[str, Callable[[], Tensor]] = {
        OURS: lambda: fmt.constrained_kl(student, teacher, states, con, **options),
        EAGER: lambda: mixed_with_mask(student, teacher, problem.allowed),
    }
    require_agreement(problem, ways)
    return ways


def mixed_with_mask(student: Tensor, teacher: Tensor, allowed: Tensor) -> Tensor:
    log_p, log_q = torch.where(allowed, teacher, teacher - PENALTY).log_softmax(-1), student.log_softmax(-1)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)).sum(-1) / 2


def require_agreement(problem: Problem, ways: dict[str, Callable[[], Tensor]]) -> None:
    """Values and gradients, of our bets on the weight of the loss too: the third step has the gradient foreseen."""
    expected: tuple[Tensor, Tensor | None] | None = None
    for name, loss in ways.items():
        for _ in range(3):
            problem.step(loss)
            found = loss().detach(), problem.student.grad
            expected = expected or found
            for one, other in zip(found, expected, strict=True):
                # torch adds up 50,257 float32 numbers with errors of some 1e-5
                if not torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max())):
                    raise AssertionError(f"{name} and {OURS} differ by {float((one - other).abs().max())}")


def memory(problem: Problem, report: Report) -> None:
    """The most that a step holds beyond its inputs and the gradient, as a share of one matrix of logits."""
    if not tells_peak():
        report.note("losses: peak memory left out, this system does not tell it")
        return

    def step() -> None:
        problem.step(
            lambda: fmt.constrained_kl(
                problem.student, problem.teacher, problem.states, problem.con, penalty=PENALTY, engine="fused"
            )
        )

    matrix = problem.student.numel() * problem.student.element_size()
    shares = []
    for _ in range(report.settings.rounds):
        problem.student.grad = None
        shares.append((peak_bytes(step) - matrix) / matrix)
    report.find("losses.memory", problem.name, max(0.0, *shares))


def without_masks(problem: Problem, report: Report) -> None:
    """The other functions by the kernel and, with masks of the logits' size, by plain torch: tensors as constraint."""
    student, states, device = problem.student, problem.states, problem.con.on("cpu")
    targets = problem.allowed.float().argmax(-1)
    stored = fmt.sparse_teacher(problem.teacher, states, problem.con, k=16)
    ways: dict[str, Callable[[Any], Tensor]] = {
        "penalize": lambda con: fmt.penalize(student, states, con, PENALTY),
        "constrained_log_probs": lambda con: fmt.constrained_log_probs(student, targets, states, con),
        "invalid_mass": lambda con: fmt.invalid_mass(student, states, con),
        "sparse_constrained_kl": lambda con: fmt.sparse_constrained_kl(student, stored, states, con, PENALTY),
    }
    for name, way in ways.items():
        both = {OURS: partial(way, problem.con), "fastmask, plain torch": partial(way, device)}
        require_agreement(problem, both)
        contenders = {contender: problem.contender(loss) for contender, loss in both.items()}
        report.race("losses", f"{problem.name} · {name}", "s/element", contenders, OURS)
