"""How much mass is on allowed tokens: the kernel and plain torch against float64, and what may show in the bits."""

from __future__ import annotations

import math
import multiprocessing
from itertools import product

import pytest

import fastmask as fm

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

import fastmask.torch as fmt  # noqa: E402
from fastmask.torch.mass import log_masses, outcomes  # noqa: E402
from tests.divergences import constraint  # noqa: E402
from tests.divergences import logits as random_logits  # noqa: E402

INF = math.inf
TIMEOUT = 120  # seconds until a child process counts as hung


def logits(rows: int, width: int, scale: float = 3.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return random_logits(rows, width, seed=0, scale=scale, dtype=dtype)


def by_the_letter(scores, states, con, temperature=1.0):
    allowed = F.pad(con.allowed(states), (0, scores.shape[-1] - con.vocab_size))
    wide = scores.double() / temperature
    return tuple(wide.masked_fill(left_out, -INF).logsumexp(-1) for left_out in (~allowed, allowed))


def same(found, expected, tolerance=1e-6):
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("width", [*range(2, 34), 63, 64, 65, 255, 300, 1023, 1024, 1025, 2500])
@pytest.mark.parametrize("beyond", [0, 1, 1100])
def test_every_width(width, beyond):
    con = constraint(width)
    states = torch.arange(con.num_states)
    scores = logits(len(states), width + beyond)
    same(log_masses(scores, states, con), by_the_letter(scores, states, con))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
@pytest.mark.parametrize("scale", [0.0, 3.0, 1e3, 1e4])
def test_every_type_temperature_and_size(dtype, temperature, scale):
    con = constraint(1500)
    states = torch.arange(con.num_states)
    scores = logits(len(states), 1500, scale, dtype)
    scores[:, ::5] = -INF
    expected = by_the_letter(scores, states, con, temperature)
    in_kernel = log_masses(scores, states, con, temperature)
    assert in_kernel[0].dtype == torch.float64
    same(in_kernel, expected)
    same(log_masses(scores.requires_grad_(), states, con, temperature), expected)
    same(log_masses(scores.detach(), states, con.on("cpu"), temperature), expected)


@pytest.mark.parametrize("grad", [False, True])
def test_nothing_to_sum_is_minus_infinity(grad):
    """And has no gradient, where torch's own would be NaN."""
    con = fm.Constraint.from_regex("a", fm.Vocabulary([b"a", b"b", None], eos_token_id=2))
    states = torch.tensor([fm.FREE, con.initial_state, con.initial_state])
    scores = torch.tensor([[1.0, 2, 3], [-INF, 0, 0], [0, -INF, -INF]], requires_grad=grad)
    allowed, disallowed = log_masses(scores, states, con)
    assert allowed.isneginf().tolist() == [False, True, False]
    assert disallowed.isneginf().tolist() == [True, False, True]
    mass = fmt.invalid_mass(scores, states, con)
    assert mass.tolist() == [0, 1, 0]
    if grad:
        mass.sum().backward()
        assert torch.equal(scores.grad, torch.zeros(3, 3))


def test_the_gradient_of_the_invalid_mass():
    """By finite differences in float64, which plain torch computes; the kernel's and its gradient against that."""
    con = constraint(40)
    states = torch.arange(con.num_states)
    scores = logits(len(states), 44)

    def slope_and_its_slope(x):
        (slope,) = torch.autograd.grad(fmt.invalid_mass(x, states, con).sum(), x, create_graph=True)
        return slope.detach(), torch.autograd.grad(slope.square().sum(), x)[0]

    exact = scores.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: fmt.invalid_mass(x, states, con), exact)
    assert torch.autograd.gradgradcheck(lambda x: fmt.invalid_mass(x, states, con), exact)
    same(slope_and_its_slope(scores.clone().requires_grad_()), slope_and_its_slope(exact))
    for dtype in (torch.bfloat16, torch.float16):
        half = scores.to(dtype).requires_grad_()
        fmt.invalid_mass(half, states, con).sum().backward()
        assert half.grad.dtype == dtype
        same([half.grad], [slope_and_its_slope(half.detach().double().requires_grad_())[0]], 4e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("width", [40, 1024, 1500])
def test_tokens_by_themselves(dtype, width):
    """Some of each row, also allowed ones alone, ids that are no column, and columns beyond the vocabulary."""
    con = constraint(width)
    states = torch.arange(con.num_states)
    scores = logits(len(states), width + 30, 3.0, dtype)
    ids = torch.stack(
        [torch.randperm(width + 30, generator=torch.Generator().manual_seed(i))[:12] for i in states.tolist()]
    )
    ids[1, 3:] = -1
    ids[2] = torch.arange(12)
    ids[3, 0] = width + 30
    weights = [random_logits(len(states), k, seed=k) for k in (12, 1, 1)]

    def found_and_slope(x):
        x = x.requires_grad_()
        found = outcomes(x, ids, states, con, 1.7)
        weighed = sum((w.view_as(f) * f.masked_fill(f.isinf(), 0.0)).sum() for w, f in zip(weights, found, strict=True))
        return *(f.detach() for f in found), *torch.autograd.grad(weighed, x)

    found, expected = found_and_slope(scores.clone()), found_and_slope(scores.double())
    assert found[3].dtype == dtype
    same(found[:3], expected[:3])
    same(found[3:], expected[3:], 1e-6 if dtype == torch.float32 else 8e-3)


@pytest.mark.parametrize("scale", [1e3, 1e4])
def test_the_gradient_of_extreme_logits(scale):
    con = constraint(1500)
    states = torch.arange(con.num_states)

    def slope(x):
        x = x.requires_grad_()
        allowed, disallowed = log_masses(x, states, con, 0.7)
        loss = (allowed - 0.3 * disallowed.masked_fill(disallowed.isinf(), 0.0)).sum()
        return torch.autograd.grad(loss, x)

    scores = logits(len(states), 1500, scale)
    scores[:, :1100] = -INF
    same(slope(scores.clone()), slope(scores.double()), 1e-5)


def test_nan_is_not_hidden():
    con = constraint(1100)
    states = torch.arange(3, 6)
    scores = logits(3, 1100)
    allowed = con.allowed(states)
    scores[1, allowed[1].nonzero()[0]] = math.nan
    scores[2, (~allowed[2]).nonzero()[0]] = math.nan
    assert fmt.invalid_mass(scores, states, con).isnan().tolist() == [False, True, True]


@pytest.mark.parametrize("value", [math.nan, INF])
def test_what_is_disallowed_has_no_part_in_log_probabilities(value):
    """Nor in their gradient, whatever the logits of those tokens are."""
    con = constraint(1100)
    states = torch.arange(3, 6)
    allowed, clean = con.allowed(states), logits(3, 1100)
    targets = allowed.float().argmax(-1)
    dirty = clean.clone()
    dirty[range(3), allowed.float().argmin(-1)] = value

    def values_and_slope(scores):
        leaf = scores.requires_grad_()
        values = fmt.constrained_log_probs(leaf, targets, states, con)
        return values, *torch.autograd.grad(values.sum(), leaf)

    for found, expected in zip(values_and_slope(dirty), values_and_slope(clean), strict=True):
        assert torch.equal(found, expected)


# ---- the same bits ------------------------------------------------------------------------------------------------


def batch():
    con = constraint(2500)
    return logits(64, 2500), torch.arange(64) % con.num_states, con


def results_in_bytes() -> bytes:
    scores, states, con = batch()
    masses = [
        log_masses(scores.to(dtype), states, con, temperature)
        for dtype, temperature in product((torch.float32, torch.bfloat16, torch.float16), (1.0, 0.7))
    ]
    leaf = scores.clone().requires_grad_()
    (slope,) = torch.autograd.grad(fmt.invalid_mass(leaf, states, con).sum(), leaf)
    return b"".join(found.numpy().tobytes() for found in (*(mass for pair in masses for mass in pair), slope))


@pytest.mark.parametrize("path", ["plain", "avx2", "avx512"])
def test_every_set_of_instructions(path, monkeypatch):
    """A path that this machine lacks falls back to the next, which is then tested twice."""
    monkeypatch.setenv("FASTMASK_SIMD", path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(results_in_bytes).get(TIMEOUT) == results_in_bytes()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_any_number_of_threads(count, threads):
    expected = results_in_bytes()
    threads(count)
    assert results_in_bytes() == expected


def test_any_split_and_any_view():
    scores, states, con = batch()
    whole = torch.stack(log_masses(scores, states, con))
    rows = [torch.stack(log_masses(scores[i], states[i], con)) for i in range(64)]
    assert torch.equal(torch.stack(rows, -1), whole)
    columns_apart = torch.stack([scores, scores], -1)[..., 0]
    assert torch.equal(torch.stack(log_masses(columns_apart, states, con)), whole)
    shaped = log_masses(scores.view(4, 16, -1).transpose(0, 1), states.view(4, 16).T, con)
    assert torch.equal(torch.stack(shaped), whole.view(2, 4, 16).transpose(1, 2))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_batches(shape):
    con = constraint(100)
    found = log_masses(torch.zeros(*shape, 100), torch.zeros(shape, dtype=torch.long), con)
    assert [mass.shape for mass in found] == [shape, shape]


def test_a_state_out_of_range_is_refused():
    con = constraint(100)
    with pytest.raises(fm.TokenRangeError, match="state 99"):
        fmt.invalid_mass(torch.zeros(2, 100), torch.tensor([0, 99]), con)
