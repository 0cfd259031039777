"""What the tests of divergences share: the engines, random problems, and the definition in float64."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastmask as fm
import fastmask.torch as fmt

INF = float("inf")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # where Triton's engine works, see conftest.py
ENGINES = [
    "fused",
    pytest.param("triton", marks=pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")),
    "torch",
]


def engine(name: str):
    """``constrained_kl`` by one engine, for tensors on the CPU: Triton's works on a GPU where there is one."""
    call = partial(fmt.constrained_kl, engine=name)
    return partial(_there_and_back, call) if name == "triton" else call


def _there_and_back(call, *arguments, **options):
    there = [x.to(DEVICE) if isinstance(x, torch.Tensor) else x for x in arguments]
    options = {name: x.to(DEVICE) if isinstance(x, torch.Tensor) else x for name, x in options.items()}
    return call(*there, **options).cpu()


def divergence_and_gradient(kl, student, *arguments, upstream=None, **options):
    """(divergences, their gradient)."""
    student = student.detach().requires_grad_()
    found = kl(student, *arguments, **options)
    found.backward(torch.ones_like(found) if upstream is None else upstream)
    return found.detach(), student.grad


def slopes(loss, *inputs):
    """(losses, the gradient of their weighed sum in each of the inputs)."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    losses = loss(*leaves)
    weights = torch.linspace(0.5, 2, len(losses)).to(losses.dtype)
    return losses.detach(), *torch.autograd.grad((losses * weights).sum(), leaves)


def constraint(width: int) -> fm.Constraint:
    """A vocabulary of random bytes, one token of which is EOS: dense rows and sparse ones."""
    draw = np.random.default_rng(width)
    tokens = [bytes([byte]) for byte in draw.integers(0, 256, width)]
    return fm.Constraint.from_regex("[A-z]|[0-a][^a]+", fm.Vocabulary(tokens, eos_token_id=width - 1))


def logits(rows: int, width: int, seed: int, scale: float = 3.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).mul(scale).to(dtype)


class Exact:
    """The definition in float64: values, gradient, and the size of the terms of which each is the sum."""

    def __init__(
        self,
        student,
        teacher,
        states,
        con,
        penalty=10.0,
        temperature=1.0,
        reverse=False,
        mask_on="teacher",
        jensen_shannon=None,
    ):
        width = max(student.shape[-1], teacher.shape[-1])
        wide = [F.pad(x.detach().double(), (0, width - x.shape[-1]), value=-INF) for x in (student, teacher)]
        allowed = F.pad(con.allowed(states), (0, width - con.vocab_size))
        log_q, log_p = (
            (torch.where(allowed, x, x - penalty) if mask_on in (side, "both") else x).div(temperature).log_softmax(-1)
            for x, side in zip(wide, ("student", "teacher"), strict=True)
        )
        if jensen_shannon is not None:
            slope, size = self._mix(log_p.exp(), log_q.exp(), jensen_shannon)
        elif reverse:
            ratio = self._compare(log_q, log_p)
            slope = log_q.exp() * (ratio - self.values[:, None])
            size = log_q.exp() * (ratio.abs() + self.values[:, None])
        else:
            self._compare(log_p, log_q)
            slope, size = log_q.exp() - log_p.exp(), log_q.exp() + log_p.exp()
        self.gradient = slope[:, : student.shape[-1]] / temperature
        self.gradient_size = size.amax(-1, keepdim=True) / temperature

    def _compare(self, log_first, log_second):
        ratio = torch.where(log_first.exp() > 0, log_first - log_second, 0.0)
        self.values = (log_first.exp() * ratio).sum(-1)
        self.terms = (log_first.exp() * ratio.abs()).sum(-1)
        return ratio

    def _mix(self, p, q, share):
        """(The gradient over the temperature, the size of its terms.)"""
        m = share * p + (1 - share) * q
        of_p, of_q = _log(p / m, (1 - share) * (p - q) / m), _log(q / m, share * (q - p) / m)
        self.values = (share * p * of_p + (1 - share) * q * of_q).sum(-1)
        self.terms = (share * p * of_p.abs() + (1 - share) * q * of_q.abs()).sum(-1)
        mean = (q * of_q).sum(-1, keepdim=True)
        return (1 - share) * q * (of_q - mean), (1 - share) * q * (of_q.abs() + mean.abs() + share)


def _log(ratio, excess):
    """log(1 + excess) of a ratio close to 1; any finite number where the ratio is 0, or none."""
    return torch.where(ratio > 0.5, excess.log1p(), torch.where(ratio > 0, ratio, 1.0).log())


def assert_exact(exact, values, gradient, gradient_tolerance=1e-6):
    """To 1e-6 of what is added up, and 1e-6 nats: of a sum of terms with signs, on penalised logits that are rounded to
    float32, more could not be promised. Gradients to 1e-6 of the largest in their row."""
    assert values.dtype == torch.float32
    assert ((values - exact.values).abs() <= 1e-6 * (exact.terms + 1)).all()
    assert ((gradient - exact.gradient).abs() <= gradient_tolerance * exact.gradient_size).all()
