"""Masks and losses on tensors, against closed forms and an oracle in float64."""

from __future__ import annotations

import math
from itertools import product

import pytest

import fastmask as fm

torch = pytest.importorskip("torch")

import fastmask.torch as fmt  # noqa: E402

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
def test_the_divergence_is_its_definition(penalty, temperature, reverse, mask_on):
    options = {"penalty": penalty, "temperature": temperature, "reverse": reverse, "mask_on": mask_on}
    close(fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, **options), oracle(STUDENT, TEACHER, **options))


def test_no_penalty_is_plain_distillation():
    for mask_on in ("teacher", "student", "both", "none"):
        close(
            fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, penalty=0.0, mask_on=mask_on), plain_kl(STUDENT, TEACHER)
        )
    close(fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, penalty=9.0, mask_on="none"), plain_kl(STUDENT, TEACHER))


def test_an_infinite_penalty_splits_in_two():
    """KL(p̃‖q) = -log b + KL(p_A‖q_A)."""
    found = fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, penalty=INF)
    q, p = STUDENT.double().softmax(-1), TEACHER.double().softmax(-1)
    b = (q * ALLOWED).sum(-1)
    q_a, p_a = (x * ALLOWED / (x * ALLOWED).sum(-1, keepdim=True) for x in (q, p))
    close(found, -b.log() + torch.where(ALLOWED, p_a * (p_a / q_a).log(), 0.0).sum(-1))
    assert found.isfinite().all()


@pytest.mark.parametrize("penalty", [0.0, 1.0, 10.0, 1e4, INF])
def test_where_all_is_allowed_the_penalty_changes_nothing(penalty):
    free = torch.full((N,), fm.FREE)
    close(fmt.constrained_kl(STUDENT, TEACHER, free, CON, penalty=penalty), plain_kl(STUDENT, TEACHER))
    close(fmt.constrained_kl(STUDENT, TEACHER, free, CON, penalty=penalty, reverse=True), plain_kl(TEACHER, STUDENT))


def test_reverse_is_infinite_where_the_student_has_mass_outside():
    found = fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, penalty=INF, reverse=True)
    assert torch.equal(found.isinf(), STATES != fm.FREE)
    obedient = fmt.mask_logits(STUDENT, STATES, CON)
    assert fmt.constrained_kl(obedient, TEACHER, STATES, CON, penalty=INF, reverse=True).isfinite().all()


@pytest.mark.parametrize("penalty", [0.0, 3.0, INF])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_shift_of_the_logits_changes_nothing(penalty, reverse):
    options = {"penalty": penalty, "reverse": reverse}
    moved = fmt.constrained_kl(STUDENT + 50, TEACHER - 30, STATES, CON, **options)
    torch.testing.assert_close(
        moved, fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, **options), rtol=1e-4, atol=1e-4
    )


def test_no_divergence_from_oneself():
    target = fmt.penalize(TEACHER, STATES, CON, penalty=4.0)
    close(fmt.constrained_kl(target, TEACHER, STATES, CON, penalty=4.0), torch.zeros(N))
    close(fmt.constrained_kl(TEACHER, TEACHER, STATES, CON, penalty=4.0, mask_on="both"), torch.zeros(N))


@pytest.mark.parametrize("penalty", [0.0, 3.0, INF])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_gradient_is_q_minus_the_constrained_teacher(penalty, temperature):
    student = STUDENT.clone().requires_grad_()
    teacher = TEACHER.clone().requires_grad_()
    fmt.constrained_kl(student, teacher, STATES, CON, penalty=penalty, temperature=temperature).sum().backward()
    p = (TEACHER.double() / temperature).softmax(-1) * weight(penalty, temperature)
    q = (STUDENT.double() / temperature).softmax(-1)
    close(student.grad, (q - p / p.sum(-1, keepdim=True)) / temperature)
    assert teacher.grad is None


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mask_on", ["teacher", "student", "both"])
def test_the_gradient_is_the_slope(reverse, mask_on):
    """Central differences of the oracle in float64 along random directions."""
    options = {"penalty": 2.0, "temperature": 1.5, "reverse": reverse, "mask_on": mask_on}
    student = STUDENT.clone().requires_grad_()
    fmt.constrained_kl(student, TEACHER, STATES, CON, **options).sum().backward()
    for seed in range(3):
        step = logits(seed + 10, dtype=torch.float64) * 1e-5
        slope = oracle(STUDENT + step, TEACHER, **options).sum() - oracle(STUDENT - step, TEACHER, **options).sum()
        torch.testing.assert_close((student.grad.double() * step).sum(), slope / 2, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("narrow", "wide"), [(50, 64), (64, 50), (53, 61)])
def test_unequal_widths(narrow, wide, reverse):
    """Padding columns are tokens that nobody can say: as if their logits were -inf."""
    student, teacher = logits(5, narrow), logits(6, wide)
    width = max(narrow, wide)
    found = fmt.constrained_kl(student, teacher, STATES, CON, penalty=3.0, reverse=reverse)
    padded = [torch.nn.functional.pad(x.double(), (0, width - x.shape[-1]), value=-INF) for x in (student, teacher)]
    q, p = (x.softmax(-1) for x in padded)
    w = torch.nn.functional.pad(weight(3.0, 1.0), (0, width - V), value=math.exp(-3.0))
    p = p * w / (p * w).sum(-1, keepdim=True)
    p, q = (q, p) if reverse else (p, q)
    close(found, torch.where(p > 0, p * (p / q).log(), 0.0).sum(-1))


def test_extreme_logits_stay_finite():
    for scale in (0.0, 1e3, 1e4):
        student = (STUDENT * scale).requires_grad_()
        found = fmt.constrained_kl(student, TEACHER * scale, STATES, CON, penalty=10.0)
        found.sum().backward()
        assert found.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [50, 64])
def test_mask_logits(dtype, width):
    scores = logits(2, width, dtype=dtype)
    before = scores.clone()
    masked = fmt.mask_logits(scores, STATES, CON)
    allowed = torch.nn.functional.pad(ALLOWED, (0, width - V))
    assert masked.dtype == dtype
    assert torch.equal(masked[allowed], scores[allowed])
    assert (masked[~allowed] == -INF).all()
    assert torch.equal(scores, before), "a new tensor"
    assert (~allowed).any(-1).sum() >= N - 3
    assert masked.isfinite().any(-1).all(), "no row is all -inf"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_penalize(dtype):
    scores = logits(2, dtype=dtype)
    expected = torch.where(ALLOWED, scores, scores - 3.0)
    assert torch.equal(fmt.penalize(scores, STATES, CON, penalty=3.0), expected)
    per_row = torch.arange(N, dtype=dtype)
    expected = torch.where(ALLOWED, scores, scores - per_row[:, None])
    assert torch.equal(fmt.penalize(scores, STATES, CON, penalty=per_row), expected)
    assert torch.equal(fmt.penalize(scores, STATES, CON, penalty=INF), fmt.mask_logits(scores, STATES, CON))


def test_a_penalty_for_each_row_is_that_row_s_penalty():
    penalties = torch.linspace(0, 20, N)
    found = fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, penalty=penalties)
    alone = [
        fmt.constrained_kl(STUDENT[i : i + 1], TEACHER[i : i + 1], STATES[i : i + 1], CON, penalty=float(penalties[i]))
        for i in range(N)
    ]
    torch.testing.assert_close(found, torch.cat(alone))


@pytest.mark.parametrize("shift", [0.0, 20.0, 60.0])
def test_invalid_mass_is_exact_also_where_it_is_tiny(shift):
    scores = torch.where(ALLOWED, STUDENT + shift, STUDENT)
    expected = (scores.double().softmax(-1) * ~ALLOWED).sum(-1)
    found = fmt.invalid_mass(scores, STATES, CON)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0.0)
    assert (found[STATES == fm.FREE] == 0).all()
    assert (found[STATES != fm.FREE] > 0).all()


def test_invalid_mass_counts_columns_beyond_the_vocabulary():
    found = fmt.invalid_mass(torch.zeros(N, 100), STATES, CON)
    torch.testing.assert_close(found, 1 - ALLOWED.sum(-1) / 100)


def test_constrained_log_probs():
    masked = (STUDENT.double().exp() * ALLOWED).log()
    expected = masked - masked.exp().sum(-1, keepdim=True).log()
    for dtype in (torch.int64, torch.int32):
        targets = (torch.arange(N) * 7 % V).to(dtype)
        found = fmt.constrained_log_probs(STUDENT, targets, STATES, CON)
        close(found, expected.gather(-1, targets.long()[:, None])[:, 0])
    total = (
        torch.stack([fmt.constrained_log_probs(STUDENT, torch.full((N,), t), STATES, CON) for t in range(V)])
        .exp()
        .sum(0)
    )
    close(total, torch.ones(N))


def test_batches_of_any_shape():
    shape = (3, CON.num_states)
    student, teacher, states = STUDENT.view(*shape, V), TEACHER.view(*shape, V), STATES.view(shape)
    flat = fmt.constrained_kl(STUDENT, TEACHER, STATES, CON)
    assert torch.equal(fmt.constrained_kl(student, teacher, states, CON), flat.view(shape))
    assert torch.equal(fmt.constrained_kl(STUDENT.T.contiguous().T, TEACHER, STATES.int(), CON), flat)
    assert fmt.invalid_mass(student, states, CON).shape == shape
    assert fmt.mask_logits(student[0, 0], states[0, 0], CON).shape == (V,)
    assert fmt.constrained_kl(STUDENT[:0], TEACHER[:0], STATES[:0], CON).shape == (0,)


BAD = {
    "narrow logits": (fm.InputError, "40 wide.*50", lambda: fmt.mask_logits(logits(0, 40), STATES, CON)),
    "states of another shape": (
        fm.InputError,
        rf"\({N}, 50\).*\({N},\).*\(2,\)",
        lambda: fmt.mask_logits(STUDENT, STATES[:2], CON),
    ),
    "states in numpy": (fm.InputTypeError, "states.*ndarray", lambda: fmt.mask_logits(STUDENT, STATES.numpy(), CON)),
    "states of floats": (fm.InputTypeError, "states.*float32", lambda: fmt.mask_logits(STUDENT, STATES.float(), CON)),
    "states out of range": (
        fm.TokenRangeError,
        "state 99",
        lambda: fmt.invalid_mass(STUDENT, torch.full((N,), 99), CON),
    ),
    "negative penalty": (fm.InputError, "penalty.*-1", lambda: fmt.penalize(STUDENT, STATES, CON, penalty=-1.0)),
    "penalty NaN": (fm.InputError, "penalty.*nan", lambda: fmt.penalize(STUDENT, STATES, CON, penalty=math.nan)),
    "negative penalties": (
        fm.InputError,
        "penalties",
        lambda: fmt.penalize(STUDENT, STATES, CON, penalty=-torch.ones(N)),
    ),
    "penalties NaN": (
        fm.InputError,
        "penalties",
        lambda: fmt.penalize(STUDENT, STATES, CON, penalty=torch.full((N,), math.nan)),
    ),
    "penalties of another shape": (
        fm.InputError,
        "penalties",
        lambda: fmt.penalize(STUDENT, STATES, CON, penalty=torch.ones(N + 1)),
    ),
    "temperature zero": (
        fm.InputError,
        "temperature.*0",
        lambda: fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, temperature=0.0),
    ),
    "temperature NaN": (
        fm.InputError,
        "temperature.*nan",
        lambda: fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, temperature=math.nan),
    ),
    "unknown mask_on": (
        fm.InputError,
        "mask_on.*'all'",
        lambda: fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, mask_on="all"),
    ),
    "other batches": (fm.InputError, "student.*teacher", lambda: fmt.constrained_kl(STUDENT, TEACHER[:3], STATES, CON)),
    "target beyond": (
        fm.TokenRangeError,
        "60",
        lambda: fmt.constrained_log_probs(STUDENT, torch.full((N,), 60), STATES, CON),
    ),
    "target ignored": (
        fm.TokenRangeError,
        "-100",
        lambda: fmt.constrained_log_probs(STUDENT, torch.full((N,), -100), STATES, CON),
    ),
    "targets of another shape": (
        fm.InputError,
        "targets",
        lambda: fmt.constrained_log_probs(STUDENT, torch.zeros(2), STATES, CON),
    ),
    "logits in numpy": (fm.InputTypeError, "logits.*ndarray", lambda: fmt.mask_logits(STUDENT.numpy(), STATES, CON)),
    "logits of integers": (fm.InputTypeError, "logits.*int64", lambda: fmt.mask_logits(STUDENT.long(), STATES, CON)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name):
    expected, words, call = BAD[name]
    with pytest.raises(expected, match=words):
        call()
