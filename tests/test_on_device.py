"""A constraint as tensors against the constraint itself, plainly and under torch.compile; on the CPU alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastmask as fm
from tests.cases import REGEXES, SCHEMAS
from tests.compare import outlines_vocabulary

torch = pytest.importorskip("torch")

import fastmask.torch as fmt  # noqa: E402

VOCABULARY = fm.Vocabulary([*(bytes([byte]) for byte in range(0x30, 0x5B)), None], eos_token_id=43, size=50)
CON = fm.Constraint.from_regex("([0-9]{2}|[A-Z])+", VOCABULARY)
DEV = CON.on("cpu")
STATES = torch.arange(CON.num_states)
V = CON.vocab_size
DTYPES = [torch.int32, torch.int64]
SHAPES = [(), (0,), (5,), (2, 3), (0, 4), (2, 1, 2)]


def logits(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def some_states(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return (torch.arange(math.prod(shape)) % CON.num_states).reshape(shape).to(dtype)


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert torch.equal(found, expected)


def assert_same_everywhere(con: fm.Constraint) -> None:
    """Every token in every state, every mask, every end."""
    dev = con.on("cpu")
    states, tokens = torch.arange(con.num_states), torch.arange(con.vocab_size)
    rows, columns = torch.meshgrid(states, tokens, indexing="ij")
    same(dev.advance(rows, columns), con.advance(rows, columns))
    same(dev.allowed(states), con.allowed(states))
    words, numbers = dev.packed(states)
    same(words[numbers], con.bitmask(states))
    same(dev.is_final(states), con.is_final(states))
    assert (dev.initial_state, dev.num_states, dev.vocab_size) == (con.initial_state, con.num_states, con.vocab_size)


@pytest.mark.parametrize("case", REGEXES, ids=lambda case: case.name)
def test_every_token_in_every_state(case, bpe):
    assert_same_everywhere(fm.Constraint.from_regex(case.regex, bpe.vocabulary))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_token_in_every_state_of_a_schema(name, sample):
    assert_same_everywhere(fm.Constraint.from_schema(SCHEMAS[name], sample.vocabulary))


def test_every_token_in_every_state_of_an_index(small):
    outlines = pytest.importorskip("outlines_core")
    index = outlines.Index("(yes|no)( maybe){2}", outlines_vocabulary(small.tokens, small.eos))
    assert_same_everywhere(fm.Constraint.from_index(index, small.vocabulary))


def test_a_state_that_no_token_leads_out_of_allows_eos():
    con = fm.Constraint.from_regex("ax|bc", fm.Vocabulary([b"a", b"b", b"c", None, None], eos_token_id=[3, 4]))
    assert_same_everywhere(con)
    dead_end = con.advance(con.initial_state, 0)
    assert con.on("cpu").allowed(torch.tensor(dead_end)).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token_dtype", DTYPES)
def test_any_shape_and_either_dtype(shape, dtype, token_dtype):
    states, tokens = some_states(shape, dtype), torch.full(shape, 3, dtype=token_dtype)
    same(DEV.advance(states, tokens), torch.as_tensor(CON.advance(states, tokens)))
    same(DEV.allowed(states), CON.allowed(states))
    same(DEV.is_final(states), CON.is_final(states))
    scores = logits(*shape, V)
    same(DEV.mask(scores, states), fmt.mask_logits(scores, states, CON))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [V, V + 14])
def test_mask(dtype, width):
    scores = logits(CON.num_states, width, dtype=dtype)
    before = scores.clone()
    masked = DEV.mask(scores, STATES)
    allowed = torch.zeros(scores.shape, dtype=torch.bool)
    allowed[:, :V] = CON.allowed(STATES)
    assert masked.dtype == dtype
    assert torch.equal(masked[allowed], scores[allowed])
    assert (masked[~allowed] == -math.inf).all()
    assert torch.equal(scores, before), "a new tensor"


def test_a_gradient_passes_through_the_mask():
    scores = logits(CON.num_states, V).requires_grad_()
    DEV.mask(scores, STATES).masked_fill(~CON.allowed(STATES), 0.0).sum().backward()
    same(scores.grad, CON.allowed(STATES).float())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_out_of_range_leads_to_dead(dtype):
    outside = torch.tensor([-1, V, V + 1, torch.iinfo(dtype).min, torch.iinfo(dtype).max], dtype=dtype)
    for state in range(CON.num_states):
        expected = fm.FREE if state == fm.FREE else fm.DEAD
        assert DEV.advance(torch.full_like(outside, state), outside).tolist() == [expected] * 5
    beyond = torch.where(outside == V, CON.num_states, outside)
    assert DEV.advance(beyond, torch.full_like(beyond, 3)).tolist() == [fm.DEAD] * 5
    assert DEV.is_final(beyond).tolist() == [False] * 5
    same(DEV.allowed(beyond), CON.allowed(torch.full((5,), fm.DEAD)))


def test_the_losses_take_it_in_the_constraint_s_place():
    student, teacher = logits(CON.num_states, V + 3), logits(CON.num_states, V)
    expected = fmt.constrained_kl(student, teacher, STATES, CON, engine="torch")
    same(fmt.constrained_kl(student, teacher, STATES, DEV), expected)
    torch.testing.assert_close(fmt.invalid_mass(student, STATES, DEV), fmt.invalid_mass(student, STATES, CON))


# ---- under torch.compile ------------------------------------------------------------------------------------------


def greedy_step(scores, states):
    tokens = DEV.mask(scores, states).argmax(-1)
    return tokens, DEV.advance(states, tokens), DEV.is_final(states), DEV.allowed(states)


@pytest.fixture(autouse=True)
def fresh_compiler():
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("dynamic", [False, True, None])
def test_compiled_without_a_break_it_is_the_same(backend, dynamic):
    compiled = torch.compile(greedy_step, fullgraph=True, dynamic=dynamic, backend=backend)
    for batch, width in ((4, V), (4, V), (3, V), (7, V + 6)):
        states = torch.full((batch,), DEV.initial_state, dtype=torch.int32)
        for step in range(3):
            scores = logits(step + 1, batch, width)[step]
            expected = greedy_step(scores, states)
            for found, right in zip(compiled(scores, states), expected, strict=True):
                same(found, right)
            states = expected[1]


def test_a_batch_of_another_size_is_no_other_graph():
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(greedy_step, fullgraph=True, dynamic=True, backend=backend)
    for batch in (13, 9, 17):  # none of them the number of states, classes or masks, which it would take for the same
        compiled(logits(batch, V), some_states((batch,), torch.int32))
    assert len(graphs) == 1


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about torch itself
def test_compiled_to_machine_code_it_is_the_same():
    """With torch's own compiler, which needs one for C++."""
    compiled = torch.compile(greedy_step, fullgraph=True)
    for batch, width in ((13, V), (9, V), (17, V + 6)):
        scores, states = logits(batch, width), some_states((batch,), torch.int32)
        for found, right in zip(compiled(scores, states), greedy_step(scores, states), strict=True):
            same(found, right)


# ---- what is refused ----------------------------------------------------------------------------------------------


def test_a_budget_is_kept_and_the_figures_named():
    dev = CON.on(torch.device("cpu"), max_bytes=DEV.nbytes)
    assert dev.nbytes == DEV.nbytes > len(np.unique(CON.allowed(np.arange(CON.num_states)), axis=0)) * V
    figures = (
        rf"{DEV.nbytes:,} bytes.*masks of {V} tokens.*{CON.num_states} states.*{DEV.nbytes - 1:,}\. Raise max_bytes"
    )
    with pytest.raises(fm.CompileLimitError, match=figures):
        CON.on("cpu", max_bytes=DEV.nbytes - 1)
    with pytest.raises(fm.CompileLimitError, match="limit is 10; raise max_bytes"):
        fm.Constraint.from_regex("[0-9]", VOCABULARY).on("cpu", max_bytes=10)


def test_it_says_what_it_is():
    masks = len(np.unique(CON.allowed(np.arange(CON.num_states)), axis=0))
    shown = repr(DEV)
    assert f"num_states={CON.num_states}, num_classes=" in shown
    assert f"num_masks={masks}, vocab_size={V}, nbytes={DEV.nbytes:,})" in shown
    assert DEV.device == torch.device("cpu")
    with pytest.raises(AttributeError):
        DEV.vocab_size = 3


BAD = {
    "a device that is not here": (fm.InputTypeError, 'torch has here.*"cpu", got .cuda:99', lambda: CON.on("cuda:99")),
    "states of floats": (fm.InputTypeError, r"states.*float32", lambda: DEV.allowed(torch.ones(2))),
    "states of bytes": (fm.InputTypeError, r"states.*uint8", lambda: DEV.is_final(torch.ones(2, dtype=torch.uint8))),
    "states of booleans": (fm.InputTypeError, r"states.*bool", lambda: DEV.allowed(torch.ones(2, dtype=torch.bool))),
    "states in numpy": (fm.InputTypeError, r"states.*got int64", lambda: DEV.allowed(np.arange(3))),
    "one state": (fm.InputTypeError, r"states.*got int", lambda: DEV.allowed(3)),
    "states elsewhere": (fm.InputTypeError, r"states.*meta.*cpu", lambda: DEV.allowed(STATES.to("meta"))),
    "tokens of floats": (fm.InputTypeError, r"tokens.*float32", lambda: DEV.advance(STATES, STATES.float())),
    "tokens in a list": (fm.InputTypeError, r"tokens.*list", lambda: DEV.advance(STATES, [1, 2])),
    "tokens of another shape": (fm.InputError, r"\(2,\).*\(1,\)", lambda: DEV.advance(STATES[:2], STATES[:1])),
    "narrow logits": (fm.InputError, "40 wide.*50", lambda: DEV.mask(logits(2, 40), STATES[:2])),
    "logits of integers": (fm.InputTypeError, r"logits.*int64", lambda: DEV.mask(logits(2, V).long(), STATES[:2])),
    "states for other logits": (
        fm.InputError,
        r"\(2, 50\).*\(2,\).*\(3,\)",
        lambda: DEV.mask(logits(2, V), STATES[:3]),
    ),
    "an unknown device": (fm.InputTypeError, r"device.*'abacus'", lambda: CON.on("abacus")),
    "no device": (fm.InputTypeError, r"device.*\[\]", lambda: CON.on([])),
    "a budget that is no number": (fm.InputTypeError, r"max_bytes.*'1'", lambda: CON.on("cpu", max_bytes="1")),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name):
    expected, words, call = BAD[name]
    with pytest.raises(expected, match=words):
        call()
