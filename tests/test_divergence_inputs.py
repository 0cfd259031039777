"""Divergences where infinities meet, of tensors in every state, and what they do not take."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastmask as fm

torch = pytest.importorskip("torch")

import fastmask.torch as fmt  # noqa: E402
from tests.divergences import ENGINES, constraint, engine, logits, slopes  # noqa: E402

INF = math.inf
V = 50
CON = constraint(V)
STATES = torch.arange(CON.num_states).repeat(3)
N = len(STATES)
STUDENT, TEACHER = (logits(N, V, seed, scale=2.0) for seed in (0, 1))


@pytest.fixture(params=ENGINES)
def kl(request):
    return engine(request.param)


# ---- infinities and their places ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rise", [40.0, 70.0, 120.0, 300.0, 1000.0])
@pytest.mark.parametrize("place", [5, 1100, 2400])
def test_where_a_token_stands_changes_nothing(rise, place):
    """One token lacks mass on the second side; another, in a later block or an earlier one, has nearly all of it."""
    student, teacher = (torch.randn(1, 2500, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    student[0, 700] = -INF
    found = []
    for kl in (engine("fused"), engine("torch")):
        for order in (torch.arange(2500), torch.arange(2500).flip(0)):
            sides = student.clone(), teacher.clone()
            sides[1][0, place] += rise
            found.append(kl(*(x[:, order] for x in sides), None, CON, mask_on="none").item())
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0] == pytest.approx(found[2], rel=1e-5)
    assert math.isinf(found[0]) == (rise < 80)


@pytest.mark.parametrize("name", ["fused", "torch"])
@pytest.mark.parametrize("place", [700, 2400])
def test_no_nan_where_mass_vanished(name, place):
    """In the student's gradient of the reverse divergence, and in the teacher's of the forward one."""
    vocabulary = fm.Vocabulary([bytes([48 + byte % 40]) for byte in range(2499)] + [None], 2499)
    con = fm.Constraint.from_regex("[0-9]+", vocabulary)
    state = torch.tensor([con.initial_state])
    generator = torch.Generator().manual_seed(3)
    student, teacher = (torch.randn(1, 2500, generator=generator).requires_grad_() for _ in range(2))
    allowed = con.allowed(state)[0]
    place = int(torch.nonzero(allowed[place:])[0]) + place
    raised = torch.zeros(1, 2500)
    raised[0, place] = 1000.0
    for reverse in (True, False):
        sides = (student + raised, teacher) if reverse else (student, teacher + raised)
        sides = sides if reverse else (sides[0].masked_fill(torch.arange(2500) == 5, -INF), sides[1])
        options = {"reverse": reverse, "penalty": INF if reverse else 3.0, "teacher_gradient": True}
        loss = engine(name)(*sides, state, con, **options)
        assert loss.isfinite().all()
        wanted = student if reverse else teacher
        (slope,) = torch.autograd.grad(loss.sum(), wanted)
        assert slope.isfinite().all()


@pytest.mark.parametrize("penalty", [INF, torch.full((N,), INF)], ids=["one", "each"])
def test_an_infinite_logit_where_nothing_is_allowed(kl, penalty):
    """Infinity less infinity is none: the masked side is what it would be without that token."""
    student, teacher, states = STUDENT[:6], TEACHER[:6], torch.full((6,), CON.initial_state)
    penalty = penalty[:6] if isinstance(penalty, torch.Tensor) else penalty
    raised = teacher.clone()
    raised[:, int((~CON.allowed(states[0])).nonzero()[0])] = INF
    found, expected = (slopes(lambda x: kl(x, t, states, CON, penalty=penalty), student) for t in (raised, teacher))  # noqa: B023
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(fmt.penalize(raised, states, CON, penalty), fmt.mask_logits(teacher, states, CON))
    assert torch.equal(fmt.invalid_mass(raised.masked_fill(raised == INF, 1e30), states, CON), torch.ones(6))


@pytest.mark.parametrize("side", [0, 1], ids=["student", "teacher"])
@pytest.mark.parametrize("bad", [math.nan, INF], ids=str)
def test_a_row_that_is_not_finite_has_no_finite_loss_and_no_other_notices(kl, side, bad):
    sides = [STUDENT.clone(), TEACHER.clone()]
    sides[side][4, int(CON.allowed(STATES[4]).nonzero()[0])] = bad
    losses = kl(*sides, STATES, CON)
    others = torch.arange(N) != 4
    assert not losses[4].isfinite()
    assert torch.equal(losses[others], kl(STUDENT, TEACHER, STATES, CON)[others])


# ---- inputs -------------------------------------------------------------------------------------------------------


def test_a_teacher_that_was_run_for_inference(kl):
    with torch.inference_mode():
        teacher, states = TEACHER * 1, STATES * 1
    expected = slopes(lambda x: kl(x, TEACHER, STATES, CON), STUDENT)
    found = slopes(lambda x: kl(x, teacher, states, CON), STUDENT)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"temperature": INF}, fm.InputError, "above 0 and finite, got inf"),
        ({"penalty": torch.ones(2), "mask_on": "none"}, fm.InputError, "penalties need the rows' shape"),
        ({"penalty": np.ones(N)}, fm.InputTypeError, "a number or a tensor, got ndarray"),
        ({"penalty": "10"}, fm.InputTypeError, "a number or a tensor, got str"),
    ],
    ids=str,
)
def test_options_of_no_use(kl, change, error, message):
    with pytest.raises(error, match=message):
        kl(STUDENT, TEACHER, STATES, CON, **change)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (torch.ones(N, 0), r"a last dimension of tokens, got shape \(\d+, 0\)"),
        (torch.tensor(1.0), "a last dimension of tokens"),
        (torch.ones(N, V).to_sparse(), "a dense tensor of floats, got torch.sparse_coo"),
        (torch.ones(N, V, dtype=torch.long), "a dense tensor of floats, got torch.strided torch.int64"),
    ],
    ids=str,
)
def test_logits_of_no_use(logits, message):
    with pytest.raises((fm.InputError, fm.InputTypeError), match=message):
        fmt.constrained_kl(logits, logits, STATES, CON, mask_on="none")


def test_penalties_under_transforms():
    """No value of theirs is looked at."""
    device, penalties = CON.on("cpu"), torch.linspace(0, 9, N)
    whole = fmt.constrained_kl(STUDENT, TEACHER, STATES, device, penalties)
    compiled = torch.compile(lambda *x: fmt.constrained_kl(*x[:3], device, x[3]), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(STUDENT, TEACHER, STATES, penalties), whole)
    by_row = torch.vmap(lambda s, t, state, penalty: fmt.constrained_kl(s, t, state, device, penalty))
    rows = (x.unsqueeze(1) for x in (STUDENT, TEACHER, STATES, penalties))
    torch.testing.assert_close(by_row(*rows).squeeze(1), whole)
