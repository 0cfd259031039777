"""The divergence: one table of cases for all engines, against its definition in float64 and against closed forms."""

from __future__ import annotations

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmask as fm

torch = pytest.importorskip("torch")

import fastmask.torch as fmt  # noqa: E402
from tests.divergences import ENGINES, engine, slopes  # noqa: E402

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


def weight(penalty, temperature, allowed=ALLOWED):
    return torch.where(allowed, 1.0, math.exp(-penalty / temperature)).double()


def constrained(p, penalty, temperature, target=None, allowed=ALLOWED):
    """The definition on probabilities [N,V]: weighed by the penalty, or shared out as the target says."""
    if target is None:
        p = p * weight(penalty, temperature, allowed)
        return p / p.sum(-1, keepdim=True)
    kinds = (p * allowed, p * ~allowed)
    a, rest = (kind.sum(-1, keepdim=True) for kind in kinds)
    shared = (1 - target) * kinds[0] / a.clamp(min=1e-300) + target * kinds[1] / rest.clamp(min=1e-300)
    return torch.where((a == 0) | (rest == 0), p, shared)


def divergence(p, q):
    """Σ p log(p / q); a term with p = 0 is 0."""
    return (p * (torch.where(p > 0, p, 1.0).log() - torch.where(p > 0, q, 1.0).log())).sum(-1)


def oracle(
    student,
    teacher,
    penalty=10.0,
    temperature=1.0,
    reverse=False,
    mask_on="teacher",
    jensen_shannon=None,
    target_invalid_mass=None,
    allowed=ALLOWED,
):
    """The definition by the letter, in float64, on probabilities."""
    q, p = ((x.double() / temperature).softmax(-1) for x in (student, teacher))
    options = (penalty, temperature, target_invalid_mass, allowed)
    p = constrained(p, *options) if mask_on in ("teacher", "both") else p
    q = constrained(q, *options) if mask_on in ("student", "both") else q
    if jensen_shannon is not None:
        m = jensen_shannon * p + (1 - jensen_shannon) * q
        return jensen_shannon * divergence(p, m) + (1 - jensen_shannon) * divergence(q, m)
    return divergence(q, p) if reverse else divergence(p, q)


def plain_kl(student, teacher, temperature=1.0):
    log_p, log_q = ((x.double() / temperature).log_softmax(-1) for x in (teacher, student))
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def same_to(tolerance, found, expected):
    """(losses, gradients …), relative to the largest loss: of sums of terms of this size, no more is promised."""
    assert all(x.isfinite().all() for x in found)
    size = 1 + expected[0].abs().amax()
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert ((ours.double() - theirs).abs() <= tolerance * size).all()


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


# ---- Jensen-Shannon, a target for the mass, and gradients in the teacher --------------------------------------------

MASKS = ["teacher", "student", "both", "none"]
MORE = [
    *({"jensen_shannon": b, "penalty": x, "mask_on": m} for b, x, m in product((0.1, 0.5, 0.97), (3.0, INF), MASKS)),
    *(
        {"target_invalid_mass": e, "reverse": r, "mask_on": m, "temperature": t}
        for e, r, m, t in product((0.02, 0.6), (False, True), MASKS, (1.0, 1.7))
    ),
    *({"target_invalid_mass": 0.0, "mask_on": m} for m in ("teacher", "both", "none")),
    *({"target_invalid_mass": e, "jensen_shannon": 0.3, "mask_on": m} for e, m in product((0.0, 0.1), MASKS)),
]
MIXED = [options for options in MORE if "jensen_shannon" in options]
AUTO_AND_TORCH = ["auto", "torch"]


@pytest.mark.parametrize("options", MORE, ids=str)
@pytest.mark.parametrize("engine", AUTO_AND_TORCH)
@pytest.mark.parametrize("teacher_gradient", [False, True])
def test_more_options_are_their_definitions(options, engine, teacher_gradient):
    def loss(student, teacher=TEACHER):
        how = {"engine": engine, "teacher_gradient": teacher_gradient}
        return fmt.constrained_kl(student, teacher, STATES, CON, **how, **options)

    def definition(student, teacher=TEACHER):
        return oracle(student, teacher, **options)

    inputs = (STUDENT, TEACHER) if teacher_gradient else (STUDENT,)
    same_to(1e-6, slopes(loss, *inputs), slopes(definition, *(x.double() for x in inputs)))


@pytest.mark.parametrize("options", [x for x in MIXED if "penalty" in x], ids=str)
def test_jensen_shannon_is_its_definition(kl, options):
    options = {**options, "temperature": 1.7}
    found = slopes(lambda *x: kl(*x, STATES, CON, teacher_gradient=True, **options), STUDENT, TEACHER)
    same_to(1e-6, found, slopes(partial(oracle, **options), STUDENT.double(), TEACHER.double()))


@pytest.mark.parametrize("options", MORE, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_more_options_in_half_precision(options, dtype):
    student, teacher = STUDENT.to(dtype), TEACHER.to(dtype)

    def loss(*sides):
        return fmt.constrained_kl(*sides, STATES, CON, teacher_gradient=True, **options)

    found, expected = slopes(loss, student, teacher), slopes(partial(oracle, **options), student, teacher)
    assert [x.dtype for x in found] == [torch.float32, dtype, dtype]
    same_to(1e-6, found[:1], expected[:1])
    same_to(2e-2, found[1:], expected[1:])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reverse": True, "temperature": 1.3},
        {"penalty": INF},
        *({"jensen_shannon": 0.3, "penalty": x, "mask_on": m} for x, m in product((2.0, INF), MASKS)),
        *({"target_invalid_mass": 0.1, "reverse": r, "mask_on": m} for r, m in product((False, True), MASKS)),
    ],
    ids=str,
)
def test_gradients_in_float64(options):
    few = [0, 1, 3, 4]
    student, teacher = (x[few].double().requires_grad_() for x in (STUDENT, TEACHER))

    def loss(*sides):
        return fmt.constrained_kl(*sides, STATES[few], CON, teacher_gradient=True, **options)

    assert loss(student, teacher).dtype == torch.float64
    assert torch.autograd.gradcheck(loss, (student, teacher))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mask_on", MASKS)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_gradient_in_the_teacher(kl, reverse, mask_on, temperature):
    options = {"penalty": 2.0, "temperature": temperature, "reverse": reverse, "mask_on": mask_on}
    found = slopes(lambda *x: kl(*x, STATES, CON, teacher_gradient=True, **options), STUDENT, TEACHER)
    same_to(1e-6, found, slopes(partial(oracle, **options), STUDENT.double(), TEACHER.double()))
    alone = slopes(lambda x: kl(STUDENT, x, STATES, CON, teacher_gradient=True, **options), TEACHER)
    assert torch.equal(alone[1], found[2])


def test_the_teacher_s_gradient_must_be_asked_for(kl):
    teacher = TEACHER.clone().requires_grad_()
    assert not kl(STUDENT, teacher, STATES, CON).requires_grad
    kl(STUDENT, teacher, STATES, CON, teacher_gradient=True).sum().backward()
    assert teacher.grad.abs().sum() > 0


def test_jensen_shannon_is_symmetric_in_the_middle(kl):
    one, other = (kl(*x, STATES, CON, jensen_shannon=0.5, mask_on="none") for x in SIDES)
    torch.testing.assert_close(one, other)


def test_jensen_shannon_exchanges_its_sides_with_beta(kl):
    one = kl(STUDENT, TEACHER, STATES, CON, jensen_shannon=0.2, mask_on="teacher")
    other = kl(TEACHER, STUDENT, STATES, CON, jensen_shannon=0.8, mask_on="student")
    torch.testing.assert_close(one, other)


SIDES = [(STUDENT, TEACHER), (TEACHER, STUDENT)]


@pytest.mark.parametrize("mask_on", MASKS)
def test_jensen_shannon_ends_in_the_two_divergences(mask_on):
    """β → 0: JS / β → forward. β → 1: JS / (1-β) → reverse."""
    sides, tiny = (STUDENT.double(), TEACHER.double()), 1e-7
    options = {"penalty": 2.0, "mask_on": mask_on}
    for beta, reverse in ((tiny, False), (1 - tiny, True)):
        found = fmt.constrained_kl(*sides, STATES, CON, jensen_shannon=beta, **options) / tiny
        torch.testing.assert_close(found, oracle(*sides, reverse=reverse, **options), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("beta", [0.01, 0.5, 0.9])
def test_jensen_shannon_never_exceeds_the_entropy_of_beta(kl, beta):
    """And reaches it where teacher and student have nothing in common."""
    bound = -beta * math.log(beta) - (1 - beta) * math.log1p(-beta)
    disobedient = torch.where(ALLOWED, -INF, STUDENT)
    apart = STATES != fm.FREE
    options = {"penalty": INF, "jensen_shannon": beta}
    found = kl(disobedient[apart], TEACHER[apart], STATES[apart], CON, **options)
    close(found, torch.full_like(found, bound), 1e-6)
    assert (kl(STUDENT, TEACHER, STATES, CON, **options) <= bound).all()


def test_jensen_shannon_where_neither_has_mass(kl):
    """-inf in both: values and gradients are those without the columns."""
    student, teacher = (torch.cat([x, torch.full_like(x[:, :9], -INF)], -1) for x in (STUDENT, TEACHER))
    for mask_on in MASKS:
        options = {"jensen_shannon": 0.4, "penalty": INF, "mask_on": mask_on, "teacher_gradient": True}
        found = slopes(lambda *x: kl(*x, STATES, CON, **options), student, teacher)  # noqa: B023
        expected = slopes(lambda *x: kl(*x, STATES, CON, **options), STUDENT, TEACHER)  # noqa: B023
        same_to(1e-6, (found[0], *(x[:, :V] for x in found[1:])), expected)
        assert all((x[:, V:] == 0).all() for x in found[1:])


@pytest.mark.parametrize("options", MORE, ids=str)
def test_more_options_do_not_see_a_shift_of_the_logits(options):
    moved = fmt.constrained_kl(STUDENT + 50, TEACHER - 30, STATES, CON, **options)
    torch.testing.assert_close(
        moved, fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, **options), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("options", MORE, ids=str)
@pytest.mark.parametrize("scale", [0.0, 1e3, 1e4])
def test_more_options_stay_finite_under_extreme_logits(options, scale):
    found = slopes(lambda x: fmt.constrained_kl(x, TEACHER * scale, STATES, CON, **options), STUDENT * scale)
    assert all(x.isfinite().all() for x in found)


@pytest.mark.parametrize(
    "options", [x for x in MIXED if x.get("penalty") == INF and x["jensen_shannon"] == 0.5], ids=str
)
def test_jensen_shannon_where_one_lacks_what_the_other_has(kl, options):
    holes = STUDENT.masked_fill(torch.arange(V) % 7 == 3, -INF)
    expected = oracle(holes, TEACHER, **options)
    found = slopes(lambda x: kl(x, TEACHER, STATES, CON, **options), holes)
    same_to(1e-6, found[:1], [expected])
    assert found[1].isfinite().all()
    assert kl(TEACHER, holes, STATES, CON, **options).isfinite().all()


@pytest.mark.parametrize("engine", AUTO_AND_TORCH)
def test_the_teacher_s_own_mass_as_target_is_the_plain_teacher(engine):
    row = TEACHER[4:5].double()
    own = ((row.softmax(-1)) * ~ALLOWED[4]).sum().item()
    found = fmt.constrained_kl(
        STUDENT[4:5], TEACHER[4:5], STATES[4:5], CON, target_invalid_mass=own, engine=engine, reverse=True
    )
    close(found, plain_kl(row, STUDENT[4:5]), 1e-6)


@pytest.mark.parametrize("target", [0.0, 1e-9, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("log_odds", [math.log(1e-12), -3.0, 0.0, 12.0, -math.log(1e-12)])
@pytest.mark.parametrize("engine", ["fused", "torch"])
def test_any_target_from_any_mass(target, log_odds, engine):
    """Allowed tokens have 1e-12 of the mass, or all but 1e-12."""
    own = torch.logsumexp(TEACHER.masked_fill(~ALLOWED, -INF), -1) - torch.logsumexp(
        TEACHER.masked_fill(ALLOWED, -INF), -1
    )
    shift = torch.where(own.isfinite(), log_odds - own, 0.0)[:, None]
    teacher = torch.where(ALLOWED, TEACHER + shift, TEACHER)
    for temperature in (1.0, 2.5):
        options = {"target_invalid_mass": target, "temperature": temperature}
        found = slopes(lambda x: fmt.constrained_kl(x, teacher, STATES, CON, engine=engine, **options), STUDENT)  # noqa: B023
        same_to(1e-6, found, slopes(lambda x: oracle(x, teacher, **options), STUDENT.double()))  # noqa: B023


@pytest.mark.parametrize("engine", ["fused", "torch"])
@pytest.mark.parametrize("target", [0.0, 0.1])
def test_a_target_leaves_alone_what_has_mass_of_one_kind_only(engine, target):
    con = fm.Constraint.from_regex("a", fm.Vocabulary([b"a", b"b", None], eos_token_id=2))
    states = torch.tensor([fm.FREE, con.initial_state, con.initial_state, con.initial_state, fm.FREE])
    teacher = torch.tensor([[1.0, 2, 3, -INF], [1, -INF, -INF, -INF], [-INF, 1, 2, -1], [2, 1, 0, -1], [1.0, 2, 3, 4]])
    student = torch.zeros(5, 4)
    found = slopes(
        lambda x: fmt.constrained_kl(x, teacher, states, con, target_invalid_mass=target, engine=engine), student
    )
    p = teacher.double().softmax(-1)
    p[3] = torch.cat([torch.tensor([1 - target]).double(), target * p[3, 1:] / p[3, 1:].sum()])
    same_to(1e-6, found, slopes(lambda x: divergence(p, x.softmax(-1)), student.double()))


def test_one_allowed_token(kl):
    """-log of the student's probability of it; and ε of the mass may stay on the others."""
    done = torch.full((N,), fm.DONE)
    log_q, log_p = (x.double().log_softmax(-1) for x in (STUDENT, TEACHER))
    close(kl(STUDENT, TEACHER, done, CON, penalty=INF), -log_q[:, 43], 1e-6)
    close(kl(STUDENT, TEACHER, done, CON, target_invalid_mass=0.0), -log_q[:, 43], 1e-6)
    log_p[:, 43] = -INF
    log_p = (log_p.log_softmax(-1) + math.log(0.2)).index_fill(-1, torch.tensor([43]), math.log(0.8))
    expected = (log_p.exp() * (log_p - log_q)).sum(-1)
    close(kl(STUDENT, TEACHER, done, CON, target_invalid_mass=0.2), expected, 1e-6)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 300), st.integers(0, 2**31), st.sampled_from(MORE), st.booleans())
def test_more_options_under_any_vocabulary(width, seed, options, teacher_gradient):
    draw = np.random.default_rng(seed)
    tokens = [bytes([byte]) for byte in draw.integers(0x61, 0x67, width)]
    con = fm.Constraint.from_regex("a*[a-d]?e?|b", fm.Vocabulary([*tokens[:-1], b"a"], eos_token_id=width - 1))
    states = torch.arange(con.num_states)
    sides = [torch.from_numpy(draw.normal(scale=2, size=(len(states), width))).float() for _ in range(2)]
    sides = sides if teacher_gradient else [sides[0]]
    teacher = torch.from_numpy(draw.normal(scale=2, size=(len(states), width))).float()

    def loss(student, other=teacher):
        return fmt.constrained_kl(student, other, states, con, teacher_gradient=teacher_gradient, **options)

    def definition(student, other=teacher):
        return oracle(student, other, allowed=con.allowed(states), **options)

    same_to(1e-6, slopes(loss, *sides), slopes(definition, *(x.double() for x in sides)))


def test_a_target_on_both_sides_and_unequal_widths():
    """The narrower side ends before the vocabulary does."""
    for narrow, wide in ((40, 50), (50, 60)):
        student, teacher = logits(5, narrow), logits(6, wide)
        padded = torch.nn.functional.pad(student, (0, wide - narrow), value=-INF)
        for mask_on in ("teacher", "student", "both"):
            options = {"target_invalid_mass": 0.2, "mask_on": mask_on, "reverse": True}
            found = fmt.constrained_kl(student, teacher, STATES, CON, **options)
            torch.testing.assert_close(found, fmt.constrained_kl(padded, teacher, STATES, CON, **options))
            assert found.isfinite().all()


@pytest.mark.parametrize("options", MORE, ids=str)
def test_more_options_on_empty_batches_and_single_rows(options):
    whole = fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, **options)
    assert fmt.constrained_kl(STUDENT[:0], TEACHER[:0], STATES[:0], CON, **options).shape == (0,)
    alone = fmt.constrained_kl(STUDENT[5], TEACHER[5], STATES[5], CON, **options)
    torch.testing.assert_close(alone, whole[5])
    shape = (3, CON.num_states)
    shaped = fmt.constrained_kl(STUDENT.view(*shape, V), TEACHER.view(*shape, V), STATES.view(shape), CON, **options)
    torch.testing.assert_close(shaped, whole.view(shape))


@pytest.mark.parametrize(
    "options",
    [{}, {"jensen_shannon": 0.5}, *({"target_invalid_mass": 0.1, "mask_on": m} for m in ("teacher", "both"))],
    ids=str,
)
def test_on_a_device_and_under_transforms(options):
    device = CON.on("cpu")
    whole = fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, **options)
    torch.testing.assert_close(fmt.constrained_kl(STUDENT, TEACHER, STATES, device, **options), whole)
    row_by_row = torch.vmap(lambda *row: fmt.constrained_kl(*row, device, **options))(STUDENT, TEACHER, STATES)
    torch.testing.assert_close(row_by_row, whole)
    compiled = torch.compile(partial(fmt.constrained_kl, con=device, **options), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(STUDENT, TEACHER, STATES), whole)
    slope = torch.func.grad(lambda x: fmt.constrained_kl(x, TEACHER, STATES, device, **options).sum())(STUDENT)
    leaf = STUDENT.clone().requires_grad_()
    fmt.constrained_kl(leaf, TEACHER, STATES, CON, **options).sum().backward()
    torch.testing.assert_close(slope, leaf.grad, rtol=1e-5, atol=1e-6)
