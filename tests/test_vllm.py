"""vLLM's two logits-processor interfaces, driven as their model runners drive them; not vLLM itself.

The batches are simulated: `tests/vllm_stand_in.py` says what of vLLM stands in. Every mask is compared with
`con.walk` on the request's ids.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import fastmask as fm
from tests import vllm_stand_in as stand_in
from tests.vllm_stand_in import config, params

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

WIDTH = 640
SCHEMA = {
    "type": "object",
    "properties": {"tag": {"enum": ["NOUN", "VERB"]}, "n": {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 3}},
    "required": ["tag", "n"],
    "additionalProperties": False,
}
WISHES = [{"schema": SCHEMA}, {"regex": "[0-9]{12}"}, {"choices": ["yes", "no", "maybe"]}, None]


@pytest.fixture
def vllm(monkeypatch, bpe):
    """The modules of `fastmask.vllm`, imported against vLLM or its stand-in."""
    stand_in.install(monkeypatch)
    tokenizers = importlib.import_module("vllm.tokenizers")
    monkeypatch.setattr(tokenizers, "cached_tokenizer_from_config", lambda model_config: bpe.tokenizer)
    modules = {}
    for name in ("v1", "v2", "requests"):
        monkeypatch.delitem(sys.modules, f"fastmask.vllm.{name}", raising=False)
        modules[name] = importlib.import_module(f"fastmask.vllm.{name}")
    interfaces = {"old": importlib.import_module(stand_in.V1), "new": importlib.import_module(stand_in.V2)}
    yield SimpleNamespace(**modules, **interfaces, tokenizers=tokenizers)
    for name in modules:
        monkeypatch.delitem(sys.modules, f"fastmask.vllm.{name}")


@pytest.fixture(scope="module")
def constraints(bpe):
    vocabulary = fm.Vocabulary.from_tokenizer(bpe.tokenizer, size=WIDTH)
    makers = [fm.Constraint.from_schema, fm.Constraint.from_regex, fm.Constraint.from_choices]
    made = [make(next(iter(wish.values())), vocabulary) for make, wish in zip(makers, WISHES[:3], strict=True)]
    return [*made, None]


class Request:
    """What the runner knows of a request, and the tests besides."""

    def __init__(self, kind: int, constraints, prompt: list[int]) -> None:
        self.params = params(WISHES[kind])
        self.constraint = constraints[kind]
        self.prompt = prompt
        self.output: list[int] = []
        self.seen = 0

    def expected(self) -> torch.Tensor:
        """bool [WIDTH]: what may come next, by a walk over the whole text."""
        if self.constraint is None:
            return torch.ones(WIDTH, dtype=torch.bool)
        states = self.constraint.walk([self.output])[0] if self.output else [self.constraint.initial_state]
        return torch.from_numpy(self.constraint.allowed(int(states[-1])))

    def sample(self, logits: torch.Tensor, draw: torch.Generator) -> int:
        """An allowed token; now and then one that is not, as a forced token would be."""
        if torch.rand((), generator=draw) < 0.01:
            return int(torch.randint(WIDTH, (), generator=draw))
        return int(torch.multinomial(logits.softmax(-1), 1, generator=draw))


def finished_answer(request: Request, bpe) -> bool:
    """Is it a whole answer to the schema? Then it parses and validates."""
    if (
        request.params.extra_args != {"fastmask": WISHES[0]}
        or not request.constraint.check([request.output]).complete[0]
    ):
        return False
    answer = json.loads(bpe.tokenizer.decode(request.output, skip_special_tokens=True))
    assert answer["tag"] in ("NOUN", "VERB")
    assert set(answer["n"]) <= {1, 2}
    return True


def any_of(limit: int, draw: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=draw))


# ---- the older runner: a persistent batch -------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
def test_v1_follows_a_persistent_batch(vllm, constraints, bpe, is_async):
    """Requests come, go, are condensed, swapped, preempted and resumed; asynchronously, the last token is a
    placeholder while the update is told, and a list may lose its last token again."""
    update, direction = vllm.old.BatchUpdate, vllm.old.MoveDirectionality
    processor = vllm.v1.ConstraintLogitsProcessor(config(WIDTH), torch.device("cpu"), False)
    assert processor.is_argmax_invariant() is False
    draw = torch.Generator().manual_seed(0)
    batch: list[Request | None] = []
    resting: list[Request] = []
    finished, kinds = 0, set()
    for step in range(400):
        removed, added, moved = [], [], []
        for row, request in enumerate(batch):
            done = request.output[-1:] == [bpe.eos] or len(request.output) > 60
            if done or torch.rand((), generator=draw) < 0.05:
                finished += done and finished_answer(request, bpe)
                resting += [] if done else [request]
                batch[row] = None
                removed.append(row)
        for _ in range(any_of(3, draw) if len(batch) - len(removed) < 8 else 0):
            if resting and torch.rand((), generator=draw) < 0.5:  # resumed, with a list of its own
                request = resting.pop()
                request.output = list(request.output)
            else:
                request = Request(any_of(4, draw), constraints, [1, 2, 3])
            row = min(removed) if removed else len(batch)
            if removed:
                removed.remove(row)
                batch[row] = request
            else:
                batch.append(request)
            added.append((row, request.params, request.prompt, request.output))
            kinds.add("replaced" if row < len(batch) - 1 else "appended")
        for row in sorted(removed):  # condensed
            while batch and batch[-1] is None:
                batch.pop()
            if row < len(batch):
                moved.append((len(batch) - 1, row, direction.UNIDIRECTIONAL))
                batch[row] = batch.pop()
                kinds.add("moved")
        for _ in range(any_of(2, draw) if len(batch) > 1 else 0):
            first, second = any_of(len(batch), draw), any_of(len(batch), draw)
            if first != second:
                moved.append((first, second, direction.SWAP))
                batch[first], batch[second] = batch[second], batch[first]
                kinds.add("swapped")
        hidden = [request.output.pop() if is_async and request.output else None for request in batch]
        for request, token in zip(batch, hidden, strict=True):
            request.output.extend([] if token is None else [-1])
        told = update(batch_size=len(batch), removed=sorted(removed, reverse=True), added=added, moved=moved)
        processor.update_state(told if removed or added or moved else None)
        for request, token in zip(batch, hidden, strict=True):
            if token is not None:
                request.output[-1] = token
            if torch.rand((), generator=draw) < 0.02:  # discarded after a failed transfer
                del request.output[-3:]
        if not batch:
            continue
        logits = torch.randn(len(batch), WIDTH, generator=draw)
        masked = processor.apply(logits.clone())
        for row, request in enumerate(batch):
            assert torch.equal(masked[row].isfinite(), request.expected()), f"row {row} at step {step}"
            assert torch.equal(masked[row][request.expected()], logits[row][request.expected()])
            request.output.append(request.sample(masked[row], draw))
    assert finished >= 3
    assert kinds == {"replaced", "appended", "moved", "swapped"}


def test_v1_needs_the_last_token(vllm):
    processor = vllm.v1.ConstraintLogitsProcessor(config(WIDTH), torch.device("cpu"), False)
    added = [(0, params({"regex": "a+"}), [1], [-1])]
    processor.update_state(vllm.old.BatchUpdate(1, removed=[], added=added, moved=[]))
    with pytest.raises(fm.GenerationError, match="placeholder"):
        processor.apply(torch.zeros(1, WIDTH))


# ---- Model Runner V2: slots ---------------------------------------------------------------------------------


class Slots:
    """The runner's view of its requests, as `vllm.v1.worker.gpu.states.RequestState` keeps it."""

    def __init__(self, count: int) -> None:
        buffer = lambda *shape: SimpleNamespace(gpu=torch.zeros(shape, dtype=torch.int32))  # noqa: E731
        self.device, self.max_num_reqs, self.vocab_size = torch.device("cpu"), count, WIDTH
        self.all_token_ids, self.total_len = buffer(count, 200), buffer(count)
        self.prompt_len = SimpleNamespace(np=np.zeros(count, np.int32))
        self.prefill_len = SimpleNamespace(np=np.zeros(count, np.int32))
        self.free = list(range(count))
        self.at: dict[int, Request] = {}

    def enter(self, request: Request) -> int:
        slot = self.free.pop()
        ids = request.prompt + request.output
        self.prompt_len.np[slot], self.prefill_len.np[slot] = len(request.prompt), len(ids)
        self.all_token_ids.gpu[slot, : len(ids)] = torch.tensor(ids)
        request.seen = 0
        self.at[slot] = request
        return slot

    def leave(self, slot: int) -> Request:
        self.free.append(slot)
        return self.at.pop(slot)


def test_v2_follows_slots(vllm, constraints, bpe):
    """Requests enter slots used before, are prefilled in pieces, preempted and resumed with their text, and lie in
    other rows at every step; a token that was sampled is told on the device only."""
    slots = Slots(6)
    processor = vllm.v2.ConstraintLogitsProcessor(config(WIDTH), slots)
    draw = torch.Generator().manual_seed(0)
    resting: list[Request] = []
    finished = resumed = 0
    for step in range(500):
        for slot, request in list(slots.at.items()):
            done = request.output[-1:] == [bpe.eos] or len(request.output) > 60
            if done or torch.rand((), generator=draw) < 0.05:
                finished += done and finished_answer(request, bpe)
                resting += [] if done else [request]
                slots.leave(slot)
        for _ in range(min(any_of(3, draw), len(slots.free))):
            if resting and torch.rand((), generator=draw) < 0.5:
                request = resting.pop()
                resumed += bool(request.output)
            else:
                request = Request(any_of(4, draw), constraints, list(range(WIDTH + 5, WIDTH + 6 + any_of(6, draw))))
            slot = slots.enter(request)
            assert processor.add_request(slot, request.params) is (request.constraint is not None)
        processor.apply_staged_writes()
        here = [slot for slot in slots.at if torch.rand((), generator=draw) < 0.8]
        here = [here[i] for i in torch.randperm(len(here), generator=draw).tolist()]
        if not here:
            continue
        for slot in here:  # each reads at most three tokens a step
            request = slots.at[slot]
            request.seen = min(request.seen + 3, len(request.prompt) + len(request.output))
        last = [(slots.at[slot].prompt + slots.at[slot].output)[slots.at[slot].seen - 1] for slot in here]
        mapping = torch.tensor(here, dtype=torch.int32)
        context = vllm.new.LogitsContext(
            expanded_idx_mapping=mapping, idx_mapping=mapping, idx_mapping_np=np.array(here, np.intp),
            expanded_local_pos=torch.zeros_like(mapping), input_ids=torch.tensor(last, dtype=torch.int32),
            pos=torch.tensor([slots.at[slot].seen - 1 for slot in here], dtype=torch.int64),
            seq_lens_upper_bound_np=np.array([slots.at[slot].seen for slot in here]),
        )  # fmt: skip
        logits = torch.randn(len(here), WIDTH, generator=draw)
        masked = processor.apply(logits.clone(), context)
        for row, slot in enumerate(here):
            request = slots.at[slot]
            if request.seen == len(request.prompt) + len(request.output):  # else nothing is sampled from the row
                assert torch.equal(masked[row].isfinite(), request.expected()), f"slot {slot} at step {step}"
                assert torch.equal(masked[row][request.expected()], logits[row][request.expected()])
                request.output.append(request.sample(masked[row], draw))
                slots.all_token_ids.gpu[slot, request.seen] = request.output[-1]
    assert finished >= 3
    assert resumed >= 5


# ---- what a request may ask for -----------------------------------------------------------------------------


@pytest.mark.parametrize("runner", ["v1", "v2"])
@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"regex": "a("}, "closed with"),
        ({"regex": "[a&&b]"}, "fastmask"),
        ({"regex": "(a|b)*a(a|b){40}"}, "fastmask"),
        ({"schema": {"type": "array", "uniqueItems": True}}, "uniqueItems"),
        ({"choices": []}, "empty"),
        ({"choices": "yes"}, "list of strings"),
        ({"choices": [1]}, "list of strings"),
        ({"grammar": "x"}, r"one of \['choices', 'regex', 'schema'\]"),
        ({"regex": "a", "choices": ["b"]}, "one of"),
        ({}, "one of"),
        (3, "one of"),
        ("a+", "text but not JSON"),
        ("[1]", "one of"),
        ({"schema": dict}, "plain JSON"),
    ],
)
def test_a_wish_that_cannot_be_kept_is_refused_as_a_value_error(vllm, runner, wish, message):
    with pytest.raises(ValueError, match=message) as caught:
        getattr(vllm, runner).ConstraintLogitsProcessor.validate_params(params(wish))
    assert isinstance(caught.value, fm.FastmaskError)


def test_wishes(vllm):
    for wish in (*WISHES, json.dumps(WISHES[0]), {"schema": json.dumps(SCHEMA)}):
        vllm.v1.ConstraintLogitsProcessor.validate_params(params(wish))
    found = vllm.requests.Constraints(config(WIDTH))
    assert found.of(params(WISHES[1])) is found.of(params(json.dumps(WISHES[1])))
    assert found.of(params()) is None
    assert found.of(SimpleNamespace(extra_args={"other": 1})) is None


def test_what_compiled_in_time_before_has_more_time_in_the_worker(vllm, monkeypatch):
    seconds = []
    monkeypatch.setattr(vllm.requests, "_compiled", lambda wanted, vocabulary, allowed: seconds.append(allowed))
    vllm.requests.validate(params(WISHES[0]))
    vllm.requests.Constraints(config(WIDTH)).of(params(WISHES[0]))
    assert 0 < seconds[0] < seconds[1]


def test_what_is_not_supported_is_refused(vllm, monkeypatch):
    wrong = [
        ("speculative", {"speculative_config": object()}),
        ("batch-sharded", {"parallel_config": SimpleNamespace(enable_batch_sharded_sampling=True)}),
    ]
    for message, changes in wrong:
        with pytest.raises(fm.InputError, match=message):
            vllm.v1.ConstraintLogitsProcessor(config(WIDTH, **changes), torch.device("cpu"), False)
        with pytest.raises(fm.InputError, match=message):
            vllm.v2.ConstraintLogitsProcessor(config(WIDTH, **changes), Slots(1))
    monkeypatch.setattr(vllm.tokenizers, "cached_tokenizer_from_config", lambda model_config: None)
    with pytest.raises(fm.InputError, match="skip_tokenizer_init"):
        vllm.v1.ConstraintLogitsProcessor(config(WIDTH), torch.device("cpu"), False)


def test_the_package_alone_does_not_import_vllm():
    code = "import sys, fastmask.vllm, fastmask.vllm.requests; assert not {'vllm', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
