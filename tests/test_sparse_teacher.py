"""Stored teachers: what is kept, and the divergence from them against its definition on merged probabilities."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmask as fm

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

import fastmask.torch as fmt  # noqa: E402
from tests.test_divergence import (  # noqa: E402
    ALLOWED,
    CON,
    INF,
    STATES,
    STUDENT,
    TEACHER,
    N,
    V,
    constrained,
    divergence,
    logits,
    oracle,
    same_to,
    slopes,
)

MASKS = ["teacher", "student", "both", "none"]
OPTIONS = [
    *({"penalty": x, "reverse": r, "mask_on": m} for x, r, m in product((0.0, 3.0), (False, True), MASKS)),
    *({"penalty": INF, "mask_on": m} for m in ("teacher", "both", "none")),
    *({"penalty": x, "jensen_shannon": b, "mask_on": m} for x, b, m in product((2.0, INF), (0.2, 0.5), MASKS)),
    *({"target_invalid_mass": 0.1, "reverse": r, "mask_on": m} for r, m in product((False, True), MASKS)),
    {"target_invalid_mass": 0.0},
]
SIZES = [1, 2, 10, 27, 40, V, V + 7]
MOST = 37  # tokens that any state but FREE allows


def sparse_kl(student, teacher, k, temperature=1.0, states=STATES, con=CON, **options):
    return fmt.sparse_constrained_kl(
        student, fmt.sparse_teacher(teacher, states, con, k, temperature), states, con, **options
    )


def merged(p, ids):
    """[N,V] → [N, k + 2]: the probabilities of the ids, and of what is left, allowed and not."""
    kept = F.one_hot(ids.long() + 1, p.shape[-1] + 1)[..., 1:].double()  # all zeros for -1
    rest = p * (kept.sum(-2) == 0)
    tails = torch.stack([(rest * ALLOWED).sum(-1), (rest * ~ALLOWED).sum(-1)], -1)
    return torch.cat([(kept * p.unsqueeze(-2)).sum(-1), tails], -1)


def merged_oracle(
    student,
    teacher,
    ids,
    penalty=10.0,
    temperature=1.0,
    reverse=False,
    mask_on="teacher",
    jensen_shannon=None,
    target_invalid_mass=None,
):
    """By the letter, in float64: first constrained, on the whole vocabulary, then merged."""
    q, p = ((x.double() / temperature).softmax(-1) for x in (student, teacher))
    how = (penalty, temperature, target_invalid_mass)
    p = merged(constrained(p, *how) if mask_on in ("teacher", "both") else p, ids)
    q = merged(constrained(q, *how) if mask_on in ("student", "both") else q, ids)
    if jensen_shannon is not None:
        m = jensen_shannon * p + (1 - jensen_shannon) * q
        return jensen_shannon * divergence(p, m) + (1 - jensen_shannon) * divergence(q, m)
    return divergence(q, p) if reverse else divergence(p, q)


# ---- what is kept -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", SIZES)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_what_is_kept(k, temperature, dtype):
    teacher_logits = TEACHER.to(dtype)
    teacher = fmt.sparse_teacher(teacher_logits, STATES, CON, k, temperature)
    log_p = (teacher_logits.double() / temperature).log_softmax(-1)
    counts = fmt.allowed_counts(STATES, CON)
    assert torch.equal(teacher.num_allowed.long(), counts.clamp(max=k))
    assert {name: x.dtype for name, x in teacher.tensors().items()} == {
        "ids": torch.int32,
        "log_probs": torch.float32,
        "num_allowed": torch.int32,
        "allowed_tail": torch.float32,
        "disallowed_tail": torch.float32,
    }
    for row in range(N):
        by_rank = sorted(range(V), key=lambda token: (not ALLOWED[row, token], -log_p[row, token]))
        ids = teacher.ids[row].tolist()
        assert len(ids) == k
        assert ids[V:] == [-1] * (k - V)
        found = log_p[row, ids[:V]]
        assert sorted(ids[:V]) == sorted(set(ids[:V]))
        assert torch.equal(found, log_p[row, by_rank[:k]]), "half precision has ties"
        torch.testing.assert_close(teacher.log_probs[row, :V].double(), found, rtol=1e-6, atol=1e-6)
        for tail, kind in ((teacher.allowed_tail, ALLOWED), (teacher.disallowed_tail, ~ALLOWED)):
            left = [token for token in range(V) if kind[row, token] and token not in ids]
            torch.testing.assert_close(tail[row].double(), log_p[row, left].logsumexp(-1), rtol=1e-6, atol=1e-6)


def test_tokens_without_probability_are_not_kept():
    teacher_logits = TEACHER.masked_fill(torch.arange(V) % 3 != 0, -INF)
    teacher = fmt.sparse_teacher(teacher_logits, STATES, CON, 30)
    possible = (ALLOWED & (torch.arange(V) % 3 == 0)).sum(-1)
    assert torch.equal(teacher.num_allowed.long(), possible)
    assert ((teacher.ids >= 0).sum(-1) == math.ceil(V / 3)).all()
    assert torch.equal(teacher.ids == -1, teacher.log_probs.isneginf())
    assert torch.equal(teacher.ids.sort(-1).values[:, -17:], torch.arange(0, V, 3).expand(N, -1).int())
    assert teacher.allowed_tail.isneginf().all()
    assert teacher.disallowed_tail.isneginf().all()


def test_stored_and_loaded(tmp_path):
    teacher = fmt.sparse_teacher(TEACHER, STATES, CON, 9, 1.5)
    np.savez(tmp_path / "teacher.npz", **{name: x.numpy() for name, x in teacher.tensors().items()})
    with np.load(tmp_path / "teacher.npz") as stored:
        loaded = fmt.SparseTeacher(**{name: torch.from_numpy(stored[name]) for name in stored}, temperature=1.5)
    whole = fmt.sparse_constrained_kl(STUDENT, teacher, STATES, CON)
    assert torch.equal(fmt.sparse_constrained_kl(STUDENT, loaded, STATES, CON), whole)
    for rows in (slice(3, 9), torch.tensor([5, 2, 11]), torch.arange(N) % 2 == 0, 4):
        part = fmt.sparse_constrained_kl(STUDENT[rows], loaded[rows], STATES[rows], CON)
        torch.testing.assert_close(part, whole[rows])
    assert all(x.is_contiguous() for x in teacher.tensors().values())


# ---- the divergence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", SIZES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_divergence_is_its_definition(k, options):
    """And never above that from the whole teacher."""
    temperature = 1.7 if k == 10 else 1.0
    ids = fmt.sparse_teacher(TEACHER, STATES, CON, k, temperature).ids
    found = slopes(lambda x: sparse_kl(x, TEACHER, k, temperature, **options), STUDENT)
    expected = slopes(lambda x: merged_oracle(x, TEACHER, ids, temperature=temperature, **options), STUDENT.double())
    assert found[0].dtype == torch.float32
    same_to(1e-6, found, expected)
    assert (found[0] <= oracle(STUDENT, TEACHER, temperature=temperature, **options) + 1e-5).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_nothing_is_lost_where_all_is_kept(options):
    found = slopes(lambda x: sparse_kl(x, TEACHER, V, **options), STUDENT)
    same_to(1e-6, found, slopes(lambda x: oracle(x, TEACHER, **options), STUDENT.double()))


@pytest.mark.parametrize(
    "options",
    [{"penalty": INF}, {"target_invalid_mass": 0.0}, *({"penalty": INF, "jensen_shannon": b} for b in (0.1, 0.9))],
    ids=str,
)
def test_the_allowed_set_is_enough_where_the_rest_is_forbidden(options):
    rows = STATES != fm.FREE
    assert fmt.allowed_counts(STATES[rows], CON).max() == MOST
    found = slopes(lambda x: sparse_kl(x[rows], TEACHER[rows], MOST, states=STATES[rows], **options), STUDENT)
    expected = slopes(lambda x: oracle(x, TEACHER, **options)[rows], STUDENT.double())
    same_to(1e-6, found, expected)


def test_more_tokens_tell_more():
    losses = torch.stack([sparse_kl(STUDENT, TEACHER, k, penalty=2.0) for k in range(1, V + 1)])
    assert (losses.diff(dim=0) >= -1e-5).all()
    assert (losses[-1] > losses[0] + 0.1).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_half_precision(dtype, options):
    student, teacher = STUDENT.to(dtype), TEACHER.to(dtype)
    ids = fmt.sparse_teacher(teacher, STATES, CON, 9).ids
    found = slopes(lambda x: sparse_kl(x, teacher, 9, **options), student)
    expected = slopes(lambda x: merged_oracle(x, teacher, ids, **options), student.double())
    assert [x.dtype for x in found] == [torch.float32, dtype]
    same_to(1e-6, found[:1], expected[:1])
    same_to(2e-2, found[1:], expected[1:])


@pytest.mark.parametrize("options", OPTIONS[::3], ids=str)
def test_gradients_in_float64(options):
    few = [0, 1, 3, 4]
    teacher = fmt.sparse_teacher(TEACHER[few], STATES[few], CON, 5)
    student = STUDENT[few].double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: fmt.sparse_constrained_kl(x, teacher, STATES[few], CON, **options), student
    )


def test_a_penalty_for_each_position():
    penalties = torch.linspace(0, 20, N)
    found = sparse_kl(STUDENT, TEACHER, 7, penalty=penalties)
    alone = [sparse_kl(STUDENT, TEACHER, 7, penalty=float(penalties[i]))[i] for i in range(N)]
    torch.testing.assert_close(found, torch.stack(alone))


@pytest.mark.parametrize("scale", [0.0, 1e3, 1e4])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_extreme_logits_stay_finite(scale, options):
    found = slopes(lambda x: sparse_kl(x, TEACHER * scale, 12, **options), STUDENT * scale)
    assert all(x.isfinite().all() for x in found)


@pytest.mark.parametrize("options", [x for x in OPTIONS if not x.get("reverse")], ids=str)
def test_a_teacher_with_impossible_tokens(options):
    """All but the first few of the allowed tokens, and of the others: the tails are empty for some k."""
    rank = torch.where(ALLOWED, ALLOWED.cumsum(-1), (~ALLOWED).cumsum(-1))
    for left in (1, 3, 6):
        teacher = TEACHER.masked_fill(rank > left, -INF)
        found = slopes(lambda x: sparse_kl(x, teacher, 5, **options), STUDENT)  # noqa: B023
        ids = fmt.sparse_teacher(teacher, STATES, CON, 5).ids
        same_to(1e-6, found, slopes(lambda x: merged_oracle(x, teacher, ids, **options), STUDENT.double()))  # noqa: B023


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_shift_of_the_logits_changes_nothing(temperature):
    """However large: sums of such logits are kept in float64."""
    far = STUDENT + 2**14, TEACHER - 2**14
    near = far[0] - 2**14, far[1] + 2**14  # without the digits that are lost there
    for options in OPTIONS:
        moved, expected = (sparse_kl(*pair, 6, temperature, **options) for pair in (far, near))
        torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("student", "teacher"), [(50, 64), (64, 50), (53, 61)])
def test_unequal_widths(student, teacher):
    """Columns beyond one side's width are tokens that it cannot say, as for the whole teacher."""
    ours, theirs = logits(5, student), logits(6, teacher)
    theirs[:, 50:] -= 4
    for k in (3, 64):
        for options in ({"penalty": 2.0}, {"penalty": INF}, {"jensen_shannon": 0.5, "penalty": 2.0}):
            found = sparse_kl(ours, theirs, k, **options)
            whole = fmt.constrained_kl(ours, theirs, STATES, CON, engine="torch", **options)
            assert (found <= whole + 1e-5).all()
            if k == 64:
                torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 310), st.integers(0, 2**31), st.sampled_from(OPTIONS))
def test_any_vocabulary(width, k, seed, options):
    draw = np.random.default_rng(seed)
    tokens = [bytes([byte]) for byte in draw.integers(0x61, 0x67, width)]
    con = fm.Constraint.from_regex("a*[a-d]?e?|b", fm.Vocabulary([*tokens[:-1], b"a"], eos_token_id=width - 1))
    states = torch.arange(con.num_states)
    student, teacher = (torch.from_numpy(draw.normal(size=(len(states), width))).float() for _ in range(2))
    found = sparse_kl(student, teacher, k, states=states, con=con, **options)
    whole = fmt.constrained_kl(student.double(), teacher, states, con, engine="torch", **options)
    assert not found.isnan().any()
    assert (found <= whole + 1e-5).all()
    if k >= width:
        torch.testing.assert_close(found.double(), whole, rtol=1e-5, atol=1e-5)


def test_batches_of_any_shape():
    shape = (3, CON.num_states)
    flat = sparse_kl(STUDENT, TEACHER, 5)
    shaped = sparse_kl(STUDENT.view(*shape, V), TEACHER.view(*shape, V), 5, states=STATES.view(shape))
    assert torch.equal(shaped, flat.view(shape))
    torch.testing.assert_close(sparse_kl(STUDENT[4], TEACHER[4], 5, states=STATES[4]), flat[4])
    assert sparse_kl(STUDENT[:0], TEACHER[:0], 5, states=STATES[:0]).shape == (0,)


def test_on_a_device_and_under_transforms():
    device = CON.on("cpu")
    teacher = fmt.sparse_teacher(TEACHER, STATES, CON, 8)
    for name, x in fmt.sparse_teacher(TEACHER, STATES, device, 8).tensors().items():
        torch.testing.assert_close(x, teacher.tensors()[name])
    whole = fmt.sparse_constrained_kl(STUDENT, teacher, STATES, CON)
    torch.testing.assert_close(fmt.sparse_constrained_kl(STUDENT, teacher, STATES, device), whole)
    slope = torch.func.grad(lambda x: fmt.sparse_constrained_kl(x, teacher, STATES, device).sum())(STUDENT)
    leaf = STUDENT.clone().requires_grad_()
    fmt.sparse_constrained_kl(leaf, teacher, STATES, CON).sum().backward()
    torch.testing.assert_close(slope, leaf.grad)


def test_the_student_s_logits_are_left_alone():
    student, teacher = STUDENT.clone(), TEACHER.clone()
    sparse_kl(student, teacher, 5)
    assert torch.equal(student, STUDENT)
    assert torch.equal(teacher, TEACHER)


# ---- what is refused, and how many tokens are allowed -------------------------------------------------------------


KEPT = fmt.sparse_teacher(TEACHER, STATES, CON, 5)
BAD = {
    "no token": ("k.*0", lambda: fmt.sparse_teacher(TEACHER, STATES, CON, 0)),
    "temperature": ("temperature.*-1", lambda: fmt.sparse_teacher(TEACHER, STATES, CON, 5, -1.0)),
    "narrow teacher": ("40 wide", lambda: fmt.sparse_teacher(TEACHER[:, :40], STATES, CON, 5)),
    "narrow student": ("40 wide", lambda: fmt.sparse_constrained_kl(STUDENT[:, :40], KEPT, STATES, CON)),
    "other positions": (
        r"positions \(2,\).*rows",
        lambda: fmt.sparse_constrained_kl(STUDENT, KEPT[:2], STATES, CON),
    ),
    "negative penalty": ("penalty", lambda: fmt.sparse_constrained_kl(STUDENT, KEPT, STATES, CON, penalty=-1.0)),
    "mask_on": ("mask_on", lambda: fmt.sparse_constrained_kl(STUDENT, KEPT, STATES, CON, mask_on="all")),
    "jensen_shannon": (
        "jensen_shannon.*1.0",
        lambda: fmt.sparse_constrained_kl(STUDENT, KEPT, STATES, CON, jensen_shannon=1.0),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name):
    words, call = BAD[name]
    with pytest.raises(fm.InputError, match=words):
        call()


def test_logits_are_no_sparse_teacher():
    with pytest.raises(fm.InputTypeError, match="must be a SparseTeacher, got Tensor: sparse_teacher makes one"):
        fmt.sparse_constrained_kl(STUDENT, TEACHER, STATES, CON)


@pytest.mark.parametrize("con", [CON, CON.on("cpu")], ids=["constraint", "on a device"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_allowed_counts(con, dtype):
    found = fmt.allowed_counts(STATES.to(dtype), con)
    assert found.dtype == torch.int64
    assert torch.equal(found, ALLOWED.sum(-1))
    shaped = fmt.allowed_counts(STATES.view(3, -1).to(dtype), con)
    assert torch.equal(shaped, found.view(3, -1))
    assert fmt.allowed_counts(STATES[0], con).shape == ()
    assert fmt.allowed_counts(STATES[:0], con).shape == (0,)


def test_allowed_counts_of_what_is_no_state():
    with pytest.raises(fm.TokenRangeError, match="state 99"):
        fmt.allowed_counts(torch.tensor([99]), CON)
    with pytest.raises(fm.InputTypeError, match=r"states.*list"):
        fmt.allowed_counts([0], CON)
