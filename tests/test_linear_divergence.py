"""The divergence from hidden states: against its definition in float64, against the form with all logits at once, and
how much it makes at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import fastmask as fm

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import fastmask.torch as fmt  # noqa: E402
from fastmask.torch import OutputHead, linear, linear_constrained_kl  # noqa: E402

INF = math.inf
VOCABULARY = fm.Vocabulary([*(bytes([byte]) for byte in range(0x30, 0x5B)), None], eos_token_id=43, size=50)
CON = fm.Constraint.from_regex("([0-9]{2}|[A-Z])+", VOCABULARY)
STATES = torch.arange(CON.num_states).repeat(4)
N, V = len(STATES), CON.vocab_size
STUDENT_WIDTH, TEACHER_WIDTH = 6, 9


def draw(seed: int, *shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).mul(scale)


HIDDEN, TEACHER = draw(0, N, STUDENT_WIDTH), draw(1, N, TEACHER_WIDTH)
WEIGHTS = draw(2, N).abs()  # of the losses, each its own

# name: student's head, teacher's head, options; a head is (logits, has a bias, scale, soft cap)
PLAIN = (V, False, 1.0, None)
CASES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any]]] = {
    "plain": (PLAIN, PLAIN, {}),
    "biases": ((V, True, 1.0, None), (V, True, 1.0, None), {}),
    "soft cap": ((V, False, 1.0, 2.0), (V, False, 1.0, 3.0), {}),
    "scale": ((V, False, 0.25, None), (V, False, 4.0, None), {}),
    "all of it": ((V, True, 0.5, 2.5), (V, True, 1.5, 5.0), {"temperature": 2.0, "penalty": 3.0}),
    "reverse": (PLAIN, PLAIN, {"reverse": True}),
    "reverse, all of it": ((V, True, 0.5, 2.5), (V, True, 1.5, 5.0), {"reverse": True, "temperature": 0.7}),
    "temperature": (PLAIN, PLAIN, {"temperature": 4.0}),
    "no penalty": (PLAIN, PLAIN, {"penalty": 0.0}),
    "infinite penalty": ((V, True, 1.0, None), PLAIN, {"penalty": INF}),
    "penalty for each": (PLAIN, PLAIN, {"penalty": torch.linspace(0, 12, N)}),
    "on the student": (PLAIN, PLAIN, {"mask_on": "student", "penalty": 2.0}),
    "on both": (PLAIN, PLAIN, {"mask_on": "both", "penalty": 2.0, "reverse": True}),
    "on none": (PLAIN, PLAIN, {"mask_on": "none"}),
    "padded teacher": (PLAIN, (64, True, 1.0, None), {"reverse": True}),
    "padded student": ((61, True, 1.0, 4.0), (53, False, 1.0, None), {}),
}


class Side:
    """A model's hidden states and head, with leaves that keep gradients."""

    def __init__(self, hidden: torch.Tensor, head: tuple[Any, ...], seed: int, dtype=torch.float32) -> None:
        width, has_bias, scale, soft_cap = head
        self.hidden = hidden.to(dtype, copy=True).requires_grad_()
        self.weight = draw(seed, width, hidden.shape[-1]).to(dtype).requires_grad_()
        self.bias = draw(seed + 1, width).to(dtype).requires_grad_() if has_bias else None
        self.head = OutputHead(self.weight, self.bias, scale, soft_cap)

    @property
    def leaves(self) -> list[torch.Tensor]:
        return [leaf for leaf in (self.hidden, self.weight, self.bias) if leaf is not None]

    def gradients(self) -> list[torch.Tensor]:
        gradients = [leaf.grad for leaf in self.leaves]
        for leaf in self.leaves:
            leaf.grad = None
        return gradients


def sides(name: str, dtype=torch.float32) -> tuple[Side, Side, dict[str, Any]]:
    student, teacher, options = CASES[name]
    return Side(HIDDEN, student, 10, dtype), Side(TEACHER, teacher, 20, dtype), options


def plain_sides(dtype=torch.float32) -> tuple[Side, Side]:
    return sides("plain", dtype)[:2]


def chunked(student: Side, teacher: Side, chunk_rows: int | None = 5, **options: Any) -> torch.Tensor:
    return linear_constrained_kl(
        student.hidden, student.head, teacher.hidden, teacher.head, STATES, CON, chunk_rows=chunk_rows, **options
    )


def unchunked(student: Side, teacher: Side, **options: Any) -> torch.Tensor:
    logits = student.head.logits(student.hidden), teacher.head.logits(teacher.hidden)
    return fmt.constrained_kl(*logits, STATES, CON, **options)


def oracle(student: Side, teacher: Side, penalty: Any = 10.0, temperature=1.0, reverse=False, mask_on="teacher"):
    """By the letter, on probabilities; in float64 if the sides are."""
    width = max(len(student.weight), len(teacher.weight))
    allowed = torch.nn.functional.pad(CON.allowed(STATES), (0, width - V))
    off = torch.exp(-torch.as_tensor(penalty, dtype=torch.float64) / temperature).reshape(-1, 1)

    def probabilities(side: Side, masked: bool) -> torch.Tensor:
        x = (side.hidden @ side.weight.T + (0 if side.bias is None else side.bias)) * side.head.scale
        cap = side.head.soft_cap
        x = x if cap is None else cap * torch.tanh(x / cap)
        p = (x / temperature).softmax(-1)
        p = torch.where(allowed[:, : p.shape[-1]], p, p * off) if masked else p
        return torch.nn.functional.pad(p / p.sum(-1, keepdim=True), (0, width - p.shape[-1]))

    p = probabilities(teacher, mask_on in ("teacher", "both")).detach()
    q = probabilities(student, mask_on in ("student", "both"))
    p, q = (q, p) if reverse else (p, q)
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)


def close(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        size = float(other.detach().abs().max()) + 1.0
        torch.testing.assert_close(one.double(), other.double(), rtol=tolerance, atol=tolerance * size)


def values_and_gradients(loss: Callable[..., torch.Tensor], student: Side, teacher: Side, weights, **options):
    losses = loss(student, teacher, **options)
    losses.backward(weights.to(losses.dtype))
    return [losses.detach(), *student.gradients()]


@pytest.fixture(autouse=True, params=[True, False], ids=["gradients foreseen", "gradients later"])
def bet(request, monkeypatch):
    """What the last backward pass had; each test begins with either."""
    monkeypatch.setattr(linear._bet, "_uniform", request.param)
    return request.param


# ---- values and gradients -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [torch.ones(N), torch.full((N,), -0.25), WEIGHTS], ids=["sum", "-1/4", "each"])
@pytest.mark.parametrize("engine", ["fused", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_the_divergence_and_its_slopes_are_their_definition(name, engine, weights):
    student, teacher, options = sides(name)
    found = values_and_gradients(chunked, student, teacher, weights, engine=engine, **options)
    assert found[0].dtype == torch.float32
    exact, exact_teacher, _ = sides(name, torch.float64)
    close(found, values_and_gradients(oracle, exact, exact_teacher, weights.double(), **options), 1e-5)
    assert all(leaf.grad is None for leaf in teacher.leaves)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("weights", [torch.ones(N), WEIGHTS], ids=["sum", "each"])
@pytest.mark.parametrize("name", CASES)
def test_half_precision(name, weights, dtype):
    student, teacher, options = sides(name, dtype)
    found = values_and_gradients(chunked, student, teacher, weights, **options)
    assert all(one.dtype == dtype for one in found[1:])
    exact, exact_teacher, _ = sides(name, dtype)
    for side in (exact, exact_teacher):
        side.hidden, side.weight = (x.detach().double().requires_grad_() for x in (side.hidden, side.weight))
        side.bias = side.bias if side.bias is None else side.bias.detach().double().requires_grad_()
    expected = values_and_gradients(oracle, exact, exact_teacher, weights.double(), **options)
    close(found, expected, 2e-2)


@pytest.mark.parametrize("weights", [torch.ones(N), WEIGHTS], ids=["sum", "each"])
@pytest.mark.parametrize("name", CASES)
def test_gradcheck_in_float64(name, weights):
    student, teacher, options = sides(name, torch.float64)

    def total(*leaves: torch.Tensor) -> torch.Tensor:
        hidden, weight, *bias = leaves
        head = OutputHead(weight, *(bias or [None]), student.head.scale, student.head.soft_cap)
        losses = linear_constrained_kl(hidden, head, teacher.hidden, teacher.head, STATES, CON, chunk_rows=5, **options)
        assert losses.dtype == torch.float64
        return (losses * weights).sum()

    assert torch.autograd.gradcheck(total, student.leaves, fast_mode=True)


@pytest.mark.parametrize("mask_on", ["teacher", "student", "both"])
@pytest.mark.parametrize("weights", [torch.ones(N), WEIGHTS], ids=["sum", "each"])
@pytest.mark.parametrize("options", [{"jensen_shannon": 0.3}, {"target_invalid_mass": 0.02}], ids=str)
def test_more_options_are_those_of_the_divergence(options, weights, mask_on):
    """What they mean is held to its definition in test_divergence.py."""
    student, teacher, _ = sides("all of it")
    options = {**options, "mask_on": mask_on, "temperature": 1.5}
    expected = values_and_gradients(unchunked, student, teacher, weights, **options)
    close(values_and_gradients(chunked, student, teacher, weights, **options), expected, 1e-6)


@pytest.mark.parametrize("rows", [1, 2, 7, N - 1, N, N + 1, 10_000, None])
@pytest.mark.parametrize("weights", [torch.ones(N), WEIGHTS], ids=["sum", "each"])
def test_any_size_of_chunks(rows, weights):
    student, teacher, options = sides("all of it")
    expected = values_and_gradients(unchunked, student, teacher, weights, **options)
    close(values_and_gradients(chunked, student, teacher, weights, chunk_rows=rows, **options), expected, 1e-6)


def test_a_half_precision_head_is_summed_up_in_float32():
    """1,024 equal positions one by one: a bfloat16 sum would stop at 256 of them."""
    count = 1024
    hidden, teacher = HIDDEN[:1].expand(count, -1).bfloat16(), TEACHER[:1].expand(count, -1).bfloat16()
    head, teacher_head = (draw(seed, V, width).bfloat16() for seed, width in ((3, STUDENT_WIDTH), (4, TEACHER_WIDTH)))
    head.requires_grad_()
    states = torch.full((count,), CON.initial_state)
    linear_constrained_kl(hidden, head, teacher, teacher_head, states, CON, chunk_rows=1).sum().backward()
    together, head.grad = head.grad, None
    linear_constrained_kl(hidden[:1], head, teacher[:1], teacher_head, states[:1], CON).sum().backward()
    torch.testing.assert_close(together, head.grad * count, rtol=1e-2, atol=1e-3)


# ---- heads --------------------------------------------------------------------------------------------------------


def test_a_weight_and_a_layer_stand_for_a_head():
    student, teacher = plain_sides()
    expected = chunked(student, teacher)
    layer = torch.nn.Linear(STUDENT_WIDTH, V, bias=False)
    layer.weight = torch.nn.Parameter(student.weight.detach())
    found = linear_constrained_kl(student.hidden, layer, teacher.hidden, teacher.weight, STATES, CON, chunk_rows=5)
    assert torch.equal(found, expected)
    found.sum().backward()
    assert layer.weight.grad.abs().sum() > 0

    biased = torch.nn.Linear(STUDENT_WIDTH, V)
    found = linear_constrained_kl(student.hidden, biased, teacher.hidden, teacher.weight, STATES, CON)
    expected = fmt.constrained_kl(biased(student.hidden), teacher.hidden @ teacher.weight.T, STATES, CON)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("weights", [torch.ones(N), WEIGHTS], ids=["sum", "each"])
def test_a_tied_head_s_gradient_is_that_of_both_its_uses(weights):
    teacher = plain_sides()[1]
    embedding = draw(5, V, STUDENT_WIDTH).requires_grad_()
    tokens = torch.arange(N) % V

    def gradient(loss: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
        embedding.grad = None
        student = Side(HIDDEN, PLAIN, 10)
        student.hidden, student.weight = embedding[tokens].tanh(), embedding
        student.head = OutputHead(embedding)
        loss(student, teacher).backward(weights)
        return [embedding.grad]

    close(gradient(chunked), gradient(unchunked), 1e-5)


@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
@pytest.mark.parametrize("weights", [torch.ones(N), WEIGHTS], ids=["sum", "each"])
def test_what_asks_for_no_gradient_gets_none(frozen, weights):
    student, teacher, options = sides("all of it")
    gradients = values_and_gradients(chunked, student, teacher, weights, **options)[1:]
    expected = dict(zip(("hidden", "weight", "bias"), gradients, strict=True))
    leaf = getattr(student, frozen).requires_grad_(False)
    chunked(student, teacher, **options).backward(weights)
    assert leaf.grad is None
    for other in expected.keys() - {frozen}:
        torch.testing.assert_close(getattr(student, other).grad, expected[other])


def test_autocast_multiplies_in_its_type():
    student, teacher = plain_sides()
    with torch.autocast("cpu", torch.bfloat16):
        chunked(student, teacher).backward(WEIGHTS)
    found = student.gradients()
    assert all(gradient.dtype == torch.float32 for gradient in found)
    half, half_teacher = plain_sides(torch.bfloat16)
    chunked(half, half_teacher).backward(WEIGHTS)
    for one, other in zip(found, half.gradients(), strict=True):
        assert torch.equal(one, other.float())


# ---- shapes -------------------------------------------------------------------------------------------------------


def test_batches_of_any_shape_and_any_view():
    student, teacher = plain_sides()
    flat = chunked(student, teacher).detach()
    shape = (4, CON.num_states)
    hidden, its = student.hidden.detach().view(*shape, -1), teacher.hidden.detach().view(*shape, -1)
    heads, states = (student.weight, teacher.weight), STATES.view(shape)

    def kl(hidden, weight, its, teacher_weight, states):
        hidden = hidden.clone(memory_format=torch.preserve_format).requires_grad_()
        losses = linear_constrained_kl(hidden, weight, its, teacher_weight, states, CON, chunk_rows=5)
        losses.sum().backward()
        return losses.detach(), hidden.grad

    expected = kl(hidden, heads[0], its, heads[1], states)
    torch.testing.assert_close(expected[0], flat.view(shape))
    student.gradients()
    transposed = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in (hidden, its)]
    columns = [weight.detach().T.contiguous().T.requires_grad_() for weight in heads]
    for found in (
        kl(transposed[0], heads[0], transposed[1], heads[1], states),
        kl(hidden, columns[0], its, columns[1], states.int()),
        [x.transpose(0, 1) for x in kl(hidden.transpose(0, 1), heads[0], its.transpose(0, 1), heads[1], states.T)],
    ):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)
    assert kl(hidden[0, 0], heads[0], its[0, 0], heads[1], states[0, 0])[0].shape == ()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (1,), ()])
def test_empty_batches_and_single_positions(shape):
    student, teacher = plain_sides()
    hidden = torch.ones(*shape, STUDENT_WIDTH).requires_grad_()
    states = torch.zeros(shape, dtype=torch.long)
    its = torch.ones(*shape, TEACHER_WIDTH)
    losses = linear_constrained_kl(hidden, student.weight, its, teacher.weight, states, CON)
    losses.sum().backward()
    assert losses.shape == shape
    assert hidden.grad.shape == hidden.shape
    assert (student.weight.grad == 0).all() == (losses.numel() == 0)


# ---- how much it makes --------------------------------------------------------------------------------------------


class Widest(TorchDispatchMode):
    """The most bytes that a tensor had which some operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.nbytes)
        return result


@pytest.mark.parametrize("weights", [torch.ones(N), WEIGHTS], ids=["sum", "each"])
@pytest.mark.parametrize("engine", ["fused", "torch"])
def test_no_tensor_is_wider_than_a_chunk_s_logits(engine, weights):
    rows = N // 3  # of which the logits are more than the head
    for loss, options, expected in (
        (chunked, {"chunk_rows": rows}, rows * V),
        (unchunked, {}, N * V),
    ):
        student, teacher, rest = sides("plain")
        teacher = Side(TEACHER[:, :STUDENT_WIDTH], PLAIN, 20)
        with Widest() as widest:
            loss(student, teacher, engine=engine, **options, **rest).backward(weights)
        assert widest.bytes == 4 * expected


def counted(monkeypatch) -> dict[str, int]:
    """Chunks of which losses are made, and gradients."""
    counts = {"losses": 0, "gradients": 0}
    kl, add = linear.constrained_kl, linear._Gradients.add

    def count_losses(*arguments, **options):
        counts["losses"] += 1
        return kl(*arguments, **options)

    def count_gradients(*arguments):
        counts["gradients"] += 1
        return add(*arguments)

    monkeypatch.setattr(linear, "constrained_kl", count_losses)
    monkeypatch.setattr(linear._Gradients, "add", count_gradients)
    return counts


def work(
    counts: dict[str, int], loss: Callable[[], torch.Tensor], weights: torch.Tensor
) -> tuple[list[int], list[int]]:
    """[chunks of losses, of gradients] in forward and in backward."""
    counts.update(losses=0, gradients=0)
    losses = loss()
    forward = list(counts.values())
    losses.backward(weights)
    return forward, [total - before for total, before in zip(counts.values(), forward, strict=True)]


def test_logits_are_made_once_where_all_losses_weigh_the_same(monkeypatch, bet):
    student, teacher = plain_sides()
    counts = counted(monkeypatch)
    chunks = math.ceil(N / 5)
    nothing, losses, both = [0, 0], [chunks, 0], [chunks, chunks]
    same, each = torch.full((N,), 0.125), WEIGHTS

    def step(weights):
        return work(counts, lambda: chunked(student, teacher), weights)

    assert step(same) == ((both, nothing) if bet else (losses, both))
    assert step(same * 3) == (both, nothing)
    assert step(each) == (both, both), "the bet is lost"
    assert step(each) == (losses, both), "and not made again"
    assert step(same) == (losses, both)
    assert step(same) == (both, nothing)

    student.weight.requires_grad_(False)
    assert step(each) == (both, nothing), "a position's own gradient serves any weights"
    assert step(each) == (both, nothing)


def test_without_a_graph_no_gradient_is_made(monkeypatch):
    student, teacher = plain_sides()
    counts = counted(monkeypatch)
    with torch.no_grad():
        assert not chunked(student, teacher).requires_grad
    for leaf in student.leaves:
        leaf.requires_grad_(False)
    assert not chunked(student, teacher).requires_grad, "the teacher is taken as given"
    assert counts["gradients"] == 0


def test_a_loss_scale_keeps_what_float16_would_lose():
    """A token with a probability of some 1e-8, which is 0 in float16; so its gradient is made with the scale in it."""
    (student, teacher, options), token, scale = sides("biases", torch.float16), 30, 1024.0
    for side in (student, teacher):
        side.bias.data[token] = -18.0 if side is student else -40.0
        side.weight.data[token] = 0.0
    chunked(student, teacher, **options).backward(torch.full((N,), scale))
    probability = (student.hidden @ student.weight.T + student.bias).double().softmax(-1)[:, token]
    assert (probability.half() == 0).any()
    torch.testing.assert_close(student.bias.grad[token].double(), probability.sum() * scale, rtol=2e-2, atol=1e-7)


# ---- in a graph ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uses", [1, 2])
@pytest.mark.parametrize("weights", [torch.full((N,), 0.25), WEIGHTS], ids=["mean", "each"])
def test_twice_in_a_graph_and_twice_through_it(weights, uses):
    student, teacher = plain_sides()
    alone = values_and_gradients(unchunked, student, teacher, weights)[1:]
    loss = sum((chunked(student, teacher) * weights).sum() for _ in range(uses))
    for _ in range(2):
        loss.backward(retain_graph=True)
        found = student.gradients()
        close(found, [uses * gradient for gradient in alone], 1e-5)
        for gradient in found:
            gradient.zero_()  # what was handed out is the receiver's
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize("name", ["hidden", "weight"])
@pytest.mark.parametrize("side", [0, 1])
def test_what_changed_is_noticed(name, side):
    both = plain_sides()
    loss = chunked(*both).sum()
    with torch.no_grad():
        getattr(both[side], name).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_gradient_of_the_gradient_is_refused():
    student, teacher = plain_sides()
    (slope,) = torch.autograd.grad(chunked(student, teacher).sum(), student.hidden, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        slope.sum().backward()


def test_a_constraint_on_a_device():
    student, teacher = plain_sides()
    arguments = (student.hidden, student.head, teacher.hidden, teacher.head, STATES)
    torch.testing.assert_close(linear_constrained_kl(*arguments, CON.on("cpu")), linear_constrained_kl(*arguments, CON))


# ---- what it does not do ------------------------------------------------------------------------------------------


def refused() -> dict[str, tuple[type[Exception], str, Callable[[], Any]]]:
    student, teacher = plain_sides()
    hidden, weight, its, teacher_weight = student.hidden, student.weight, teacher.hidden, teacher.weight

    def kl(hidden=hidden, head=weight, its=its, teacher_head=teacher_weight, states=STATES, **options):
        return linear_constrained_kl(hidden, head, its, teacher_head, states, CON, **options).sum()

    wrong, of_type = fm.InputError, fm.InputTypeError
    return {
        "hidden states of another width": (wrong, "student's hidden states.*6", lambda: kl(hidden[:, :5])),
        "teacher's of another width": (wrong, "teacher's hidden states", lambda: kl(its=its[:, :5])),
        "other rows": (wrong, "student's hidden states", lambda: kl(hidden[:-1])),
        "other states": (wrong, "states", lambda: kl(states=STATES[:-1])),
        "states in a list": (of_type, "states must be a tensor", lambda: kl(states=STATES.tolist())),
        "another dtype": (of_type, r"float64.*float32.*\.to\(\)", lambda: kl(hidden.double())),
        "integers": (of_type, "floats", lambda: kl(hidden.long())),
        "a head that is none": (of_type, "OutputHead", lambda: kl(head=torch.nn.Identity())),
        "a flat weight": (wrong, "vocabulary, hidden", lambda: kl(head=weight[0])),
        "a narrow head": (wrong, "vocabulary", lambda: kl(head=weight[:40], teacher_head=teacher_weight[:40])),
        "a bias of another width": (wrong, "bias", lambda: OutputHead(weight, torch.zeros(7))),
        "a bias of another dtype": (of_type, "bias", lambda: OutputHead(weight, torch.zeros(V).double())),
        "a scale that learns": (wrong, "scale", lambda: OutputHead(weight, scale=torch.ones((), requires_grad=True))),
        "an infinite scale": (wrong, "scale", lambda: OutputHead(weight, scale=INF)),
        "no room under the cap": (wrong, "soft cap", lambda: OutputHead(weight, soft_cap=0.0)),
        "no rows": (wrong, "chunk_rows", lambda: kl(chunk_rows=0)),
        "rows in halves": (of_type, "chunk_rows", lambda: kl(chunk_rows=2.5)),
        "a negative penalty": (wrong, "penalty", lambda: kl(penalty=-1.0)),
        "penalties of another shape": (wrong, "penalties", lambda: kl(penalty=torch.ones(3))),
        "a penalty's gradient": (wrong, "penalty", lambda: kl(penalty=torch.ones(N, requires_grad=True))),
        "a temperature of 0": (wrong, "temperature", lambda: kl(temperature=0.0)),
        "an unknown mask_on": (wrong, "mask_on", lambda: kl(mask_on="nobody")),
        "an unknown engine": (wrong, "engine", lambda: kl(engine="steam")),
        "torch.func.grad": (wrong, "torch.func", lambda: torch.func.grad(kl)(hidden.detach())),
        "torch.vmap": (wrong, "torch.func", lambda: torch.vmap(lambda x: x * kl())(torch.ones(2))),
    }


@pytest.mark.parametrize("name", refused())
def test_what_does_not_fit_is_refused(name):
    error, words, call = refused()[name]
    with pytest.raises(error, match=f"(?s){words}"):
        call()
