"""Functions on logits hold nothing of their size but what they return and the gradient: masks least of all."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable

import pytest

import fastmask as fm

torch = pytest.importorskip("torch")

from torch.profiler import ProfilerActivity, profile  # noqa: E402

import fastmask.torch as fmt  # noqa: E402
from tests.divergences import constraint, logits  # noqa: E402

N, V = 100, 20_000
CON = constraint(V)
STATES = torch.arange(N) % CON.num_states
TARGETS = torch.arange(N) * 191 % V
MATRIX = N * V * 4  # bytes
STUDENT = logits(N, V, 0).requires_grad_()
TEACHER = fmt.sparse_teacher(logits(N, V, 1), STATES, CON, k=3)
EACH, EVERYWHERE = torch.linspace(0, 1, N), logits(N, V, 2)

WAYS: dict[str, tuple[Callable[[], torch.Tensor], torch.Tensor]] = {
    "mask_logits": (lambda: fmt.mask_logits(STUDENT, STATES, CON), EVERYWHERE),
    "penalize": (lambda: fmt.penalize(STUDENT, STATES, CON, 3.0), EVERYWHERE),
    "penalize, inf": (lambda: fmt.penalize(STUDENT, STATES, CON, math.inf), EVERYWHERE),
    "constrained_log_probs": (lambda: fmt.constrained_log_probs(STUDENT, TARGETS, STATES, CON), EACH),
    "invalid_mass": (lambda: fmt.invalid_mass(STUDENT, STATES, CON), EACH),
    "sparse_constrained_kl": (lambda: fmt.sparse_constrained_kl(STUDENT, TEACHER, STATES, CON), EACH),
    "constrained_kl": (lambda: fmt.constrained_kl(STUDENT, EVERYWHERE, STATES, CON, jensen_shannon=0.5), EACH),
}


def peak_of_tensors(work: Callable[[], object]) -> int:
    """Bytes, by what torch's own allocator reports."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def peak_of_arrays(work: Callable[[], object]) -> int:
    """Bytes, by what numpy and Python report."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_measures_see_a_mask_of_their_own():
    assert peak_of_tensors(lambda: STUDENT > 0) >= N * V
    assert peak_of_arrays(lambda: fm.Constraint.allowed(CON, STATES.numpy())) >= N * V


@pytest.mark.parametrize("name", WAYS)
def test_no_matrix_but_results_and_gradients(name):
    way, upstream = WAYS[name]

    def step():
        losses = way()
        return losses, torch.autograd.grad(losses, STUDENT, upstream)

    step()  # the masks' table fills, imports are done
    results = {result.data_ptr() for result in (*step()[1], way()) if result.numel() == N * V} - {upstream.data_ptr()}
    assert peak_of_tensors(step) <= (len(results) + 0.01) * MATRIX
    assert peak_of_arrays(step) <= 0.01 * MATRIX
