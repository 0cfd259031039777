"""The divergence: one table of cases for all engines, against its definition in float64 and against closed forms."""

from __future__ import annotations

import math
from itertools import product

import pytest

import fastmask as fm

torch = pytest.importorskip("torch")

import fastmask.torch as fmt  # noqa: E402
from tests.divergences import ENGINES, engine  # noqa: E402

INF = math.inf
VOCABULARY = fm.Vocabulary([*(bytes([byte]) for byte in range(0x30, 0x5B)), None], eos_token_id=43, size=50)
CON = fm.Constraint.from_regex("([0-9]{2}|[A-Z])+", VOCABULARY)
STATES = torch.arange(CON.num_states).repeat(3)
N, V = len(STATES), CON.vocab_size
ALLOWED = CON.allowed(STATES)
KINDS = [*product((0.0, 0.5, 3.0, 30.0), (1.0, 0.7, 4.0))]


def logits(seed: int, width: int = V, scale: float = 2.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(N, width, generator=torch.Generator().manual_seed(seed)).mul(scale).to(dtype)


STUDENT, TEACHER = logits(0), logits(1)


@pytest.fixture(params=ENGINES)
def kl(request):
    return engine(request.param)


def weight(penalty, temperature):
    return torch.where(ALLOWED, 1.0, math.exp(-penalty / temperature)).double()


def oracle(student, teacher, penalty, temperature, reverse=False, mask_on="teacher"):
    """The definition by the letter, in float64, on probabilities."""
    q, p = ((x.double() / temperature).softmax(-1) for x in (student, teacher))
    w = weight(penalty, temperature)
    p = p * w / (p * w).sum(-1, keepdim=True) if mask_on in ("teacher", "both") else p
    q = q * w / (q * w).sum(-1, keepdim=True) if mask_on in ("student", "both") else q
    p, q = (q, p) if reverse else (p, q)
    return torch.where(p > 0, p * (p / q).log(), 0.0).sum(-1)


def plain_kl(student, teacher, temperature=1.0):
    log_p, log_q = ((x.double() / temperature).log_softmax(-1) for x in (teacher, student))
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def close(found, expected, tolerance=2e-5):
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("penalty", "temperature"), KINDS)
@pytest.mark.parametrize("mask_on", ["teacher", "student", "both", "none"])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_divergence_is_its_definition(kl, penalty, temperature, reverse, mask_on):
    options = {"penalty": penalty, "temperature": temperature, "reverse": reverse, "mask_on": mask_on}
    close(kl(STUDENT, TEACHER, STATES, CON, **options), oracle(STUDENT, TEACHER, **options))


def test_no_penalty_is_plain_distillation(kl):
    for mask_on in ("teacher", "student", "both", "none"):
        close(kl(STUDENT, TEACHER, STATES, CON, penalty=0.0, mask_on=mask_on), plain_kl(STUDENT, TEACHER))
    close(kl(STUDENT, TEACHER, STATES, CON, penalty=9.0, mask_on="none"), plain_kl(STUDENT, TEACHER))


def test_an_infinite_penalty_splits_in_two(kl):
    """KL(p̃‖q) = -log b + KL(p_A‖q_A)."""
    found = kl(STUDENT, TEACHER, STATES, CON, penalty=INF)
    q, p = STUDENT.double().softmax(-1), TEACHER.double().softmax(-1)
    b = (q * ALLOWED).sum(-1)
    q_a, p_a = (x * ALLOWED / (x * ALLOWED).sum(-1, keepdim=True) for x in (q, p))
    close(found, -b.log() + torch.where(ALLOWED, p_a * (p_a / q_a).log(), 0.0).sum(-1))
    assert found.isfinite().all()


@pytest.mark.parametrize("penalty", [0.0, 1.0, 10.0, 1e4, INF])
def test_where_all_is_allowed_the_penalty_changes_nothing(kl, penalty):
    free = torch.full((N,), fm.FREE)
    close(kl(STUDENT, TEACHER, free, CON, penalty=penalty), plain_kl(STUDENT, TEACHER))
    close(kl(STUDENT, TEACHER, free, CON, penalty=penalty, reverse=True), plain_kl(TEACHER, STUDENT))


def test_reverse_is_infinite_where_the_student_has_mass_outside(kl):
    found = kl(STUDENT, TEACHER, STATES, CON, penalty=INF, reverse=True)
    assert torch.equal(found.isinf(), STATES != fm.FREE)
    obedient = fmt.mask_logits(STUDENT, STATES, CON)
    assert kl(obedient, TEACHER, STATES, CON, penalty=INF, reverse=True).isfinite().all()


@pytest.mark.parametrize("penalty", [0.0, 3.0, INF])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_shift_of_the_logits_changes_nothing(kl, penalty, reverse):
    options = {"penalty": penalty, "reverse": reverse}
    moved = kl(STUDENT + 50, TEACHER - 30, STATES, CON, **options)
    torch.testing.assert_close(moved, kl(STUDENT, TEACHER, STATES, CON, **options), rtol=1e-4, atol=1e-4)


def test_no_divergence_from_oneself(kl):
    target = fmt.penalize(TEACHER, STATES, CON, penalty=4.0)
    close(kl(target, TEACHER, STATES, CON, penalty=4.0), torch.zeros(N))
    close(kl(TEACHER, TEACHER, STATES, CON, penalty=4.0, mask_on="both"), torch.zeros(N))


@pytest.mark.parametrize("penalty", [0.0, 3.0, INF])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_gradient_is_q_minus_the_constrained_teacher(kl, penalty, temperature):
    student = STUDENT.clone().requires_grad_()
    teacher = TEACHER.clone().requires_grad_()
    kl(student, teacher, STATES, CON, penalty=penalty, temperature=temperature).sum().backward()
    p = (TEACHER.double() / temperature).softmax(-1) * weight(penalty, temperature)
    q = (STUDENT.double() / temperature).softmax(-1)
    close(student.grad, (q - p / p.sum(-1, keepdim=True)) / temperature)
    assert teacher.grad is None


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mask_on", ["teacher", "student", "both"])
def test_the_gradient_is_the_slope(kl, reverse, mask_on):
    """Central differences of the oracle in float64 along random directions."""
    options = {"penalty": 2.0, "temperature": 1.5, "reverse": reverse, "mask_on": mask_on}
    student = STUDENT.clone().requires_grad_()
    kl(student, TEACHER, STATES, CON, **options).sum().backward()
    for seed in range(3):
        step = logits(seed + 10, dtype=torch.float64) * 1e-5
        slope = oracle(STUDENT + step, TEACHER, **options).sum() - oracle(STUDENT - step, TEACHER, **options).sum()
        torch.testing.assert_close((student.grad.double() * step).sum(), slope / 2, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("narrow", "wide"), [(50, 64), (64, 50), (53, 61)])
def test_unequal_widths(kl, narrow, wide, reverse):
    """Padding columns are tokens that nobody can say: as if their logits were -inf."""
    student, teacher = logits(5, narrow), logits(6, wide)
    width = max(narrow, wide)
    found = kl(student, teacher, STATES, CON, penalty=3.0, reverse=reverse)
    padded = [torch.nn.functional.pad(x.double(), (0, width - x.shape[-1]), value=-INF) for x in (student, teacher)]
    q, p = (x.softmax(-1) for x in padded)
    w = torch.nn.functional.pad(weight(3.0, 1.0), (0, width - V), value=math.exp(-3.0))
    p = p * w / (p * w).sum(-1, keepdim=True)
    p, q = (q, p) if reverse else (p, q)
    close(found, torch.where(p > 0, p * (p / q).log(), 0.0).sum(-1))


def test_extreme_logits_stay_finite(kl):
    for scale in (0.0, 1e3, 1e4):
        student = (STUDENT * scale).requires_grad_()
        found = kl(student, TEACHER * scale, STATES, CON, penalty=10.0)
        found.sum().backward()
        assert found.isfinite().all()


def test_a_penalty_for_each_row_is_that_row_s_penalty(kl):
    penalties = torch.linspace(0, 20, N)
    found = kl(STUDENT, TEACHER, STATES, CON, penalty=penalties)
    alone = [
        kl(STUDENT[i : i + 1], TEACHER[i : i + 1], STATES[i : i + 1], CON, penalty=float(penalties[i]))
        for i in range(N)
    ]
    torch.testing.assert_close(found, torch.cat(alone))


def test_batches_of_any_shape(kl):
    shape = (3, CON.num_states)
    student, teacher, states = STUDENT.view(*shape, V), TEACHER.view(*shape, V), STATES.view(shape)
    flat = kl(STUDENT, TEACHER, STATES, CON)
    assert torch.equal(kl(student, teacher, states, CON), flat.view(shape))
    assert torch.equal(kl(STUDENT.T.contiguous().T, TEACHER, STATES.int(), CON), flat)
    assert kl(student[0, 0], teacher[0, 0], states[0, 0], CON).shape == ()
    assert kl(STUDENT[:0], TEACHER[:0], STATES[:0], CON).shape == (0,)
