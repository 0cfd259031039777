"""Masks on tensors, what is refused, and what a distribution is under masks, against an oracle in float64."""

from __future__ import annotations

import math

import pytest

import fastmask as fm

torch = pytest.importorskip("torch")

import fastmask.torch as fmt  # noqa: E402
from fastmask.torch.inputs import are_allowed  # noqa: E402

INF = math.inf
VOCABULARY = fm.Vocabulary([*(bytes([byte]) for byte in range(0x30, 0x5B)), None], eos_token_id=43, size=50)
CON = fm.Constraint.from_regex("([0-9]{2}|[A-Z])+", VOCABULARY)
STATES = torch.arange(CON.num_states).repeat(3)
N, V = len(STATES), CON.vocab_size
ALLOWED = CON.allowed(STATES)


def logits(seed: int, width: int = V, scale: float = 2.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(N, width, generator=torch.Generator().manual_seed(seed)).mul(scale).to(dtype)


STUDENT, TEACHER = logits(0), logits(1)


def close(found, expected, tolerance=2e-5):
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected.double(), rtol=tolerance, atol=tolerance)


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


def test_which_tokens_are_allowed():
    """Of every state, in sparse rows and dense ones, and beyond the vocabulary."""
    states, tokens = torch.arange(CON.num_states).repeat_interleave(V + 3), torch.arange(V + 3).repeat(CON.num_states)
    expected = torch.nn.functional.pad(CON.allowed(torch.arange(CON.num_states)), (0, 3)).view(-1)
    for con in (CON, CON.on("cpu")):
        assert torch.equal(are_allowed(tokens, states, con), expected)


def test_log_probabilities_and_their_gradient():
    """Exact where they are close to 0, too; none for a target that is not allowed."""
    targets = ALLOWED.float().argmax(-1)
    weights, raised = torch.linspace(0.5, 2, N), torch.zeros(N, V).scatter_(-1, targets[:, None], 25.0)

    def definition(x):
        others = torch.where(ALLOWED, x, -INF).scatter(-1, targets[:, None], -INF)
        return -(others - x.gather(-1, targets[:, None])).exp().sum(-1).log1p()

    def values_and_slope(log_probs, x):
        values = log_probs(x.requires_grad_())
        return values.detach(), *torch.autograd.grad((values * weights.to(x.dtype)).sum(), x)

    for scores in (STUDENT, STUDENT + raised):
        values, slope = values_and_slope(lambda x: fmt.constrained_log_probs(x, targets, STATES, CON), scores.clone())
        expected = values_and_slope(definition, scores.double())
        torch.testing.assert_close(values.double(), expected[0], rtol=1e-6, atol=0.0)
        torch.testing.assert_close(slope.double(), expected[1], rtol=1e-5, atol=1e-7)
    leaf = STUDENT.clone().requires_grad_()
    forbidden = fmt.constrained_log_probs(leaf, (~ALLOWED).float().argmax(-1), STATES, CON)[STATES != fm.FREE]
    assert forbidden.isneginf().all()
    assert (torch.autograd.grad(forbidden.sum(), leaf)[0] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "way",
    [
        lambda x, con: fmt.mask_logits(x, STATES, con),
        lambda x, con: fmt.penalize(x, STATES, con, 3.0),
        lambda x, con: fmt.penalize(x, STATES, con, INF),
        lambda x, con: fmt.penalize(x, STATES, con, torch.where(torch.arange(N) % 2 == 0, INF, 2.5)),
    ],
    ids=["mask", "penalty", "infinity", "each"],
)
def test_the_kernel_masks_as_torch_does_in_a_graph(way, dtype):
    """Of logits and gradients that do not lie in one piece; gradients of the gradient, too."""
    whole = [logits(seed, V + 9).to(dtype) for seed in (0, 1)]
    for scores, upstream in (whole, [x.T.contiguous().T for x in whole], [x[:1].expand(N, -1) for x in whole]):
        found = []
        for con in (CON, CON.on("cpu")):
            leaf = scores.detach().requires_grad_()
            out = way(leaf, con)
            weights = upstream.detach().requires_grad_()
            (slope,) = torch.autograd.grad(out, leaf, weights, create_graph=True)
            (again,) = torch.autograd.grad(slope, weights, torch.ones_like(slope))
            found.append((out.detach(), slope.detach(), again))
        for ours, theirs in zip(*found, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, states: fmt.mask_logits(x, states, CON),
        lambda x, states: fmt.penalize(x, states, CON, INF),
        lambda x, states: fmt.constrained_kl(x, TEACHER, states, CON, INF, mask_on="both", engine="fused"),
    ],
    ids=["mask", "penalize", "divergence"],
)
def test_states_may_be_filled_anew_before_backward(loss):
    """As a buffer of states is: the gradient is that of the states that were passed."""
    weights = torch.linspace(0.5, 2, N)

    def slope(refill):
        leaf, states = STUDENT.clone().requires_grad_(), STATES.int()
        losses = loss(leaf, states)
        if refill:
            states.fill_(fm.FREE)
        (losses.movedim(0, -1) * weights).sum().backward()
        return leaf.grad

    assert torch.equal(slope(True), slope(False))


@pytest.mark.parametrize("size", [1e39, torch.full((N,), 1e39, dtype=torch.float64)], ids=["number", "tensor"])
def test_a_penalty_beyond_float32_forbids(size):
    close(fmt.penalize(STUDENT, STATES, CON, size), fmt.mask_logits(STUDENT, STATES, CON))
    found = fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, size, engine="fused")
    close(found, fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, INF))


def test_batches_of_any_shape():
    shape = (3, CON.num_states)
    student, states = STUDENT.view(*shape, V), STATES.view(shape)
    assert fmt.invalid_mass(student, states, CON).shape == shape
    assert fmt.mask_logits(student[0, 0], states[0, 0], CON).shape == (V,)


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
    "unknown engine": (
        fm.InputError,
        "engine.*'cuda'",
        lambda: fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, engine="cuda"),
    ),
    "beta of one": (
        fm.InputError,
        "jensen_shannon.*1.0",
        lambda: fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, jensen_shannon=1.0),
    ),
    "beta of zero": (
        fm.InputError,
        "jensen_shannon.*0.0",
        lambda: fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, jensen_shannon=0.0),
    ),
    "Jensen-Shannon in reverse": (
        fm.InputError,
        "jensen_shannon.*reverse",
        lambda: fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, jensen_shannon=0.5, reverse=True),
    ),
    "a target of all": (
        fm.InputError,
        "target_invalid_mass.*1.0",
        lambda: fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, target_invalid_mass=1.0),
    ),
    "a target below none": (
        fm.InputError,
        "target_invalid_mass.*-0.1",
        lambda: fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, target_invalid_mass=-0.1),
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
        lambda: fmt.constrained_log_probs(STUDENT, torch.zeros(2).long(), STATES, CON),
    ),
    "targets of floats": (
        fm.InputTypeError,
        "targets.*float32",
        lambda: fmt.constrained_log_probs(STUDENT, torch.zeros(N), STATES, CON),
    ),
    "targets in a list": (
        fm.InputTypeError,
        "targets.*list",
        lambda: fmt.constrained_log_probs(STUDENT, [0] * N, STATES, CON),
    ),
    "states in a list": (fm.InputTypeError, "states.*list", lambda: fmt.penalize(STUDENT, [0] * N, CON)),
    "a mass of states in a list": (
        fm.InputTypeError,
        "states.*list",
        lambda: fmt.invalid_mass(STUDENT, STATES.tolist(), CON),
    ),
    "logits in numpy": (fm.InputTypeError, "logits.*ndarray", lambda: fmt.mask_logits(STUDENT.numpy(), STATES, CON)),
    "no constraint": (
        fm.InputTypeError,
        "con must be.*NoneType",
        lambda: fmt.constrained_kl(STUDENT, STUDENT, STATES, None),
    ),
    "a vocabulary": (
        fm.InputTypeError,
        "con must be.*Vocabulary",
        lambda: fmt.mask_logits(STUDENT, STATES, CON.vocabulary),
    ),
    "counts without one": (fm.InputTypeError, "con must be.*NoneType", lambda: fmt.allowed_counts(STATES, None)),
    "logits of integers": (fm.InputTypeError, "logits.*int64", lambda: fmt.mask_logits(STUDENT.long(), STATES, CON)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name):
    expected, words, call = BAD[name]
    with pytest.raises(expected, match=words):
        call()


@pytest.mark.parametrize(
    "function",
    [
        lambda logits, states, con: fmt.mask_logits(logits, states, con),
        lambda logits, states, con: fmt.penalize(logits, states, con),
        lambda logits, states, con: fmt.invalid_mass(logits, states, con),
        lambda logits, states, con: fmt.constrained_log_probs(logits, states + 20, states, con),
        lambda logits, states, con: fmt.constrained_kl(logits, logits, states, con),
    ],
)
def test_transforms_need_the_masks_as_tensors(function):
    """A constraint is refused by name; its `on(device)` gives row by row what the batch gives at once."""
    logits, states = torch.randn(3, 1, CON.vocab_size), torch.full((3, 1), CON.initial_state)
    with pytest.raises(fm.InputError, match=r"torch.func .* con.on\(device\)"):
        torch.vmap(lambda *row: function(*row, CON))(logits, states)
    on_cpu = CON.on("cpu")
    by_row = torch.vmap(lambda *row: function(*row, on_cpu))(logits, states)
    torch.testing.assert_close(by_row, function(logits, states, on_cpu))


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_distillation_losses_by_hand(share):
    labels = torch.arange(N) % V
    found = fmt.distillation_losses(
        STUDENT, TEACHER, STATES, CON, labels, share, temperature=2.0, penalty=3.0, reverse=True
    )
    divergence = fmt.constrained_kl(STUDENT, TEACHER, STATES, CON, temperature=2.0, penalty=3.0, reverse=True)
    of_label = -STUDENT.log_softmax(-1)[torch.arange(N), labels]
    close(found, (1 - share) * 4 * divergence + share * of_label)
    with pytest.raises(fm.InputError, match="below 1, got 1"):
        fmt.distillation_losses(STUDENT, TEACHER, STATES, CON, labels, 1)
