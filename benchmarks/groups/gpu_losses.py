"""Constrained distillation on a GPU, forward and backward: `python -m benchmarks.gpu_losses`.

Never run so far: no GPU was at hand when it was written. It prints milliseconds, and for fastmask the bytes moved as a
share of the rate at which the device copies. Bytes are counted as five logits an element: two read forward, two read
and one written backward. Liger-Kernel's loss takes log-probabilities, so penalty and log-softmax are added to it.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import torch
from torch import Tensor

import fastmask.torch as fmt
from benchmarks.groups.losses import PENALTY, Problem, with_mask
from benchmarks.workloads import workloads

ROWS = 4096
ROUNDS = 20
COPIED = 1 << 30  # bytes
OURS = "fastmask, engine=triton"


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu_losses needs a GPU, and torch sees none")
    source, target = torch.empty(2, COPIED, dtype=torch.uint8, device="cuda")
    rate = 2 * COPIED / time(lambda: target.copy_(source))
    print(f"{torch.cuda.get_device_name()}: copies {rate / 1e9:,.0f} GB/s, read and written")
    for workload in workloads(quick=False):
        problem = Problem(workload, ROWS)
        for dtype in (torch.float32, torch.bfloat16):
            compare(problem, dtype, rate)


def compare(problem: Problem, dtype: torch.dtype, rate: float) -> None:
    student = problem.student.detach().to("cuda", dtype).requires_grad_()
    ways = losses(problem, student, problem.teacher.to("cuda", dtype))
    require_agreement(student, ways)
    moved = 5 * student.numel() * student.element_size()
    print(f"{problem.name}, {dtype}")
    for name, loss in ways.items():
        seconds = time(lambda loss=loss: step(student, loss))
        share = f", {moved / seconds / rate:.0%} of the copy rate" if name == OURS else ""
        print(f"  {name}: {seconds * 1e3:.2f} ms{share}")


def losses(problem: Problem, student: Tensor, teacher: Tensor) -> dict[str, Callable[[], Tensor]]:
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
        print("  Liger-Kernel left out: not installed")
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


def time(run: Callable[[], object]) -> float:
    """Seconds on the device, the median; two rounds before warm it up."""
    samples = []
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(2 + ROUNDS):
        begin.record()
        run()
        end.record()
        end.synchronize()
        samples.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(samples[2:])


if __name__ == "__main__":
    main()
