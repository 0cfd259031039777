"""Constrained distillation on a GPU, forward and backward, beside what the device's own rate of copying would allow.

Never run so far: no GPU was at hand when it was written. Liger-Kernel's loss takes log-probabilities, so penalty and
log-softmax are added to it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor

import fastmask.torch as fmt
from benchmarks.groups.losses import PENALTY, Problem, with_mask
from benchmarks.harness import Race, Report
from benchmarks.workloads import workloads

ROWS = 4096
WARM_UP = 2  # rounds
LOGITS_MOVED = 5  # an element: two read forward, two read and one written backward
COPIED = 1 << 30  # bytes
OURS = "fastmask, engine=triton"


def run(report: Report) -> None:
    if not torch.cuda.is_available():
        report.note("gpu_losses skipped: torch sees no GPU, which Triton's kernels and Liger-Kernel's need")
        return
    source, target = torch.empty(2, COPIED, dtype=torch.uint8, device="cuda")
    rate = 2 * COPIED / statistics.median(rounds(report, lambda: target.copy_(source)))
    report.note(f"gpu_losses: {torch.cuda.get_device_name()} copies {rate / 1e9:,.0f} GB/s, read and written")
    problem = Problem(next(workloads(report.settings.quick)), 16 if report.settings.quick else ROWS)
    for dtype in (torch.float32, torch.bfloat16):
        compare(report, problem, dtype, rate)


def compare(report: Report, problem: Problem, dtype: torch.dtype, rate: float) -> None:
    """Seconds per element on the device, in turns."""
    student = problem.student.detach().to("cuda", dtype).requires_grad_()
    ways = losses(problem, student, problem.teacher.to("cuda", dtype), report)
    require_agreement(student, ways)
    name = f"{problem.name} · {torch.cuda.get_device_name()}, {str(dtype).removeprefix('torch.')}"
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(WARM_UP + report.settings.rounds):
        for way, loss in ways.items():
            seconds[way].append(time(lambda loss=loss: step(student, loss)) / student.numel())
    race = Race({way: samples[WARM_UP:] for way, samples in seconds.items()})
    report.keep("gpu_losses", name, "s/element", race, OURS)
    moved = LOGITS_MOVED * student.element_size() / rate  # seconds an element
    report.measure("gpu_losses", name, "five logits an element, at this device's rate of copying", "s/element", [moved])


def losses(problem: Problem, student: Tensor, teacher: Tensor, report: Report) -> dict[str, Callable[[], Tensor]]:
    states, con, allowed = problem.states.cuda(), problem.con.on("cuda"), problem.allowed.cuda()
    compiled = torch.compile(with_mask)
    ways: dict[str, Callable[[], Tensor]] = {
        OURS: lambda: fmt.constrained_kl(student, teacher, states, con, penalty=PENALTY, engine="triton"),
        "torch, eager, mask at hand": lambda: with_mask(student, teacher, allowed),
        "torch.compile, mask at hand": lambda: compiled(student, teacher, allowed),
    }
    try:
        from liger_kernel.transformers import LigerKLDIVLoss
    except ImportError:
        report.note("gpu_losses: Liger-Kernel left out, it is not installed")
        return ways
    liger = LigerKLDIVLoss(reduction="batchmean", log_target=True)
    ways["Liger-Kernel"] = lambda: liger(
        student.log_softmax(-1), torch.where(allowed, teacher, teacher - PENALTY).log_softmax(-1)
    )
    return ways


def require_agreement(student: Tensor, ways: dict[str, Callable[[], Tensor]]) -> None:
    tolerance = 1e-4 if student.dtype == torch.float32 else 5e-2
    expected = step(student, ways[OURS])
    for name, loss in ways.items():
        for one, other in zip(step(student, loss), expected, strict=True):
            if not torch.allclose(
                one.float(), other.float(), rtol=tolerance, atol=tolerance * float(other.abs().max())
            ):
                raise AssertionError(f"{name} and {OURS} differ by {float((one - other).abs().max())}")


def step(student: Tensor, loss: Callable[[], Tensor]) -> tuple[Tensor, ...]:
    mean = loss().mean()
    return mean.detach(), *torch.autograd.grad(mean, student)


def rounds(report: Report, work: Callable[[], object]) -> list[float]:
    return [time(work) for _ in range(WARM_UP + report.settings.rounds)][WARM_UP:]


def time(work: Callable[[], object]) -> float:
    """Seconds on the device."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3
