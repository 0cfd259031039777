"""Continuous batching in transformers, by its own classes on a tiny Llama: every finished answer is parsed."""

from __future__ import annotations

import inspect
import json
import re
from contextlib import nullcontext

import pytest

import fastmask as fm

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
batching = pytest.importorskip("transformers.generation.continuous_batching.cb_logits_processors")

from transformers.generation.continuous_batching import continuous_api, input_outputs, offloading_manager  # noqa: E402
from transformers.generation.continuous_batching import model_runner as runner  # noqa: E402
from transformers.generation.continuous_batching.requests import FutureRequestState, RequestState  # noqa: E402

from fastmask.hf import ConstraintLogitsProcessor  # noqa: E402
from fastmask.hf import continuous_batching as ours  # noqa: E402
from fastmask.hf.continuous_batching import constrained_batching, generate_batch  # noqa: E402

WIDTH = 640
PROMPTS = [[5, 6, 7], [8, 9, 10, 11], [5, 6, 7, 12, 13], [20], [5, 6, 7], list(range(30, 50))]
TOKENS = 60
SCHEMA = {
    "type": "object",
    "properties": {"tag": {"enum": ["NOUN", "VERB"]}, "n": {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 3}},
    "required": ["tag", "n"],
    "additionalProperties": False,
}


def is_answer(text: str) -> bool:
    answer = json.loads(text)
    return set(answer) == {"tag", "n"} and answer["tag"] in ("NOUN", "VERB") and set(answer["n"]) <= {1, 2}


@pytest.fixture(scope="module")
def vocabulary(bpe):
    return fm.Vocabulary.from_tokenizer(bpe.tokenizer, size=WIDTH)


@pytest.fixture(scope="module")
def con(vocabulary):
    return fm.Constraint.from_schema(SCHEMA, vocabulary)


@pytest.fixture(scope="module")
def digits(vocabulary):
    return fm.Constraint.from_regex("[0-9]{12}", vocabulary)


@pytest.fixture(params=["sdpa", "eager"])
def model(bpe, request):
    """Untrained; a model of each test's own, because managers and attention are switched on the model."""
    torch.manual_seed(0)
    ids = dict.fromkeys(["bos_token_id", "eos_token_id", "pad_token_id"], bpe.eos)
    config = transformers.LlamaConfig(
        vocab_size=WIDTH, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=512, **ids,
    )  # fmt: skip
    return transformers.LlamaForCausalLM._from_config(config, attn_implementation=request.param).eval()


def options(bpe, blocks: int = 64, is_async: bool = False, **generation):
    """What to generate with: a cache of `blocks` pages of four tokens."""
    chosen = {"do_sample": True, "eos_token_id": bpe.eos, "max_new_tokens": TOKENS} | generation
    batching_config = transformers.ContinuousBatchingConfig(
        page_size=4, num_blocks=blocks, max_batch_tokens=64, use_async_batching=is_async, seed=0
    )
    return {
        "generation_config": transformers.GenerationConfig(**chosen),
        "continuous_batching_config": batching_config,
    }


def assert_answers(outputs, con, bpe) -> int:
    """No token broke the constraint, what is finished parses; returns how many are."""
    finished = 0
    for output in outputs:
        assert output.error is None
        verdict = con.check([output.generated_tokens])
        assert verdict.first_error[0] == -1
        if verdict.complete[0]:
            assert is_answer(bpe.tokenizer.decode(output.generated_tokens, skip_special_tokens=True))
            finished += 1
    return finished


@pytest.fixture
def simulated_streams(monkeypatch):
    """Asynchronous batching on the CPU: its real loop and carry-over, with streams and events that do nothing."""

    class Nothing:
        def __init__(self, *args, **kwargs):
            self.record_event = self.wait_event = self.synchronize = lambda *args: None

    for module in (input_outputs, runner, continuous_api, offloading_manager):
        monkeypatch.setattr(module, "stream_context", lambda stream: nullcontext())
    monkeypatch.setattr(input_outputs, "create_device_stream", Nothing)
    monkeypatch.setattr(input_outputs.torch, "Event", Nothing)
    monkeypatch.setattr(input_outputs.ContinuousBatchingAsyncIOs, "_supported_device_types", ("cpu",))


# ---- transformers' generate_batch ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "generation",
    [{"do_sample": False}, {}, {"temperature": 2.0, "top_k": 3}, {"top_p": 0.5}, {"num_return_sequences": 3}],
    ids=str,
)
def test_generate_batch(model, con, bpe, generation):
    with constrained_batching(model, con):
        outputs = model.generate_batch(PROMPTS, **options(bpe, **generation))
    assert len(outputs) == len(PROMPTS) * generation.get("num_return_sequences", 1)
    assert assert_answers(outputs.values(), con, bpe) >= 3


def test_without_the_context_the_text_is_free(model, con, bpe):
    """What this module is for; and that `assert_answers` can fail."""
    outputs = model.generate_batch(PROMPTS, **options(bpe))
    assert (con.check([output.generated_tokens for output in outputs.values()]).first_error >= 0).any()


def test_generate_with_a_paged_cache(model, con, bpe):
    with constrained_batching(model, con):
        sequences = model.generate(
            torch.tensor([PROMPTS[0]]), cache_implementation="paged", **options(bpe, do_sample=False)
        )
    assert con.check(sequences[0, :, 3:]).first_error.tolist() == [-1]


def test_a_request_preempted_again_and_again(model, con, bpe, monkeypatch):
    """A cache for a fraction of the requests: they are taken out, and come back with their text in the prompt."""
    restarts = []
    restarted = RequestState.create_equivalent_initial_request
    monkeypatch.setattr(
        RequestState, "create_equivalent_initial_request", lambda self: restarts.append(1) or restarted(self)
    )
    with constrained_batching(model, con):
        outputs = model.generate_batch(PROMPTS[:5] * 3, **options(bpe, blocks=24))
    assert len(restarts) >= 5
    assert assert_answers(outputs.values(), con, bpe) >= 3


@pytest.mark.parametrize("blocks", [64, 24])
def test_asynchronous_batching(model, con, bpe, simulated_streams, blocks):
    """The last token is on the device alone when the next batch is prepared."""
    with constrained_batching(model, con):
        outputs = model.generate_batch(PROMPTS[:5] * 3, **options(bpe, blocks, is_async=True))
    assert len(outputs) == 15
    assert assert_answers(outputs.values(), con, bpe) >= 3


def test_greedy_is_as_in_generate(model, con, bpe):
    """The same tokens as ordinary `generate` with the ordinary processor."""
    with constrained_batching(model, con):
        outputs = model.generate_batch(PROMPTS, **options(bpe, do_sample=False))
    for prompt, output in zip(PROMPTS, outputs.values(), strict=True):
        sequence = model.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=TOKENS, eos_token_id=bpe.eos,
            logits_processor=[ConstraintLogitsProcessor(con, prompt_length=len(prompt))],
        )  # fmt: skip
        assert sequence[0, len(prompt) :].tolist() == output.generated_tokens


def test_a_kept_manager(model, con, bpe):
    with constrained_batching(model, con):
        for _ in range(2):
            outputs = model.generate_batch(PROMPTS[:2], persistent_manager=True, **options(bpe))
            assert_answers(outputs.values(), con, bpe)
    free = model.generate_batch(PROMPTS[:2], **options(bpe))
    assert (con.check([output.generated_tokens for output in free.values()]).first_error >= 0).any()


# ---- a constraint for each request --------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
def test_a_constraint_for_each_prompt(model, con, digits, bpe, simulated_streams, is_async):
    constraints = [con, digits, None, digits, con, con]
    outputs = generate_batch(model, PROMPTS, constraints, **options(bpe, is_async=is_async))
    assert [output.prompt_ids for output in outputs] == PROMPTS
    answers = [output for output, constraint in zip(outputs, constraints, strict=True) if constraint is con]
    assert assert_answers(answers, con, bpe) >= 1
    for i in (1, 3):
        assert re.fullmatch("[0-9]{12}", bpe.tokenizer.decode(outputs[i].generated_tokens[:-1]))
    assert con.check([outputs[2].generated_tokens]).first_error[0] >= 0


def test_several_sequences_for_each_prompt(model, con, digits, bpe):
    outputs = generate_batch(model, PROMPTS[:2], [con, digits], **options(bpe, num_return_sequences=3))
    assert [output.prompt_ids for output in outputs] == [PROMPTS[0]] * 3 + [PROMPTS[1]] * 3
    assert_answers(outputs[:3], con, bpe)
    assert (digits.check([output.generated_tokens for output in outputs[3:]]).first_error == -1).all()


def test_requests_by_name(model, con, digits, bpe):
    named = {"answer": con, "digits": digits, "free": None}
    with (
        constrained_batching(model, named),
        model.continuous_batching_context_manager(**options(bpe)) as manager,
    ):
        for wrong in ({}, {"constraint": "other"}):
            with pytest.raises(fm.InputError, match=r"one of \['answer', 'digits', 'free'\], got"):
                manager.add_request(PROMPTS[0], **wrong)
        for _ in range(2):  # an id that is used again, under another constraint
            for name in named:
                manager.add_request(PROMPTS[0], "same", constraint=name, max_new_tokens=20)
                while (output := manager.get_result(timeout=1)) is None:
                    pass
                assert output.error is None
                if named[name] is not None:
                    assert named[name].check([output.generated_tokens]).first_error[0] == -1


def test_a_failed_request_is_an_error(model, con, bpe, monkeypatch):
    """transformers would log it and return what there is."""

    def broken(*args, **kwargs):
        raise ZeroDivisionError("no forward pass today")

    monkeypatch.setattr(model, "forward", broken)
    with pytest.raises(fm.GenerationError, match=r"prompt_\d failed: no forward pass today"):
        generate_batch(model, PROMPTS[:2], con, **options(bpe))


# ---- loud where it cannot work ------------------------------------------------------------------------------


def test_the_ordinary_processor_is_refused_by_the_list(con):
    processor = ConstraintLogitsProcessor(con)
    for keep in (True, False):
        with pytest.raises(fm.InputError, match="constrained_batching"):
            batching.ContinuousBatchingLogitsProcessorList(
                transformers.LogitsProcessorList([processor]), drop_unsupported_processors=keep
            )


@pytest.mark.parametrize("many", [list, tuple, transformers.LogitsProcessorList, lambda one: one[0]])
def test_the_ordinary_processor_is_refused_where_it_would_be_dropped(model, con, bpe, many):
    processors = many([ConstraintLogitsProcessor(con)])
    with pytest.raises(fm.InputError, match="constrained_batching"):
        model.generate_batch(PROMPTS, logits_processor=processors, **options(bpe))
    ids = torch.tensor(PROMPTS[:1])
    for arguments in (
        ((ids, None, processors), {"cache_implementation": "paged"}),
        ((ids,), {"cache_implementation": "paged", "logits_processor": processors}),
        ((), {"input_ids": ids, "cache_implementation": "paged", "logits_processor": processors}),
    ):
        with pytest.raises(fm.InputError, match="constrained_batching"):
            model.generate(*arguments[0], max_new_tokens=TOKENS, **arguments[1])


def test_what_is_not_dropped_is_left_alone(model, con, bpe):
    """Other processors where they are dropped, ours where it is not, and the methods' own looks."""
    other = transformers.MinPLogitsWarper(0.1)
    ids, small = torch.tensor(PROMPTS[:1]), options(bpe, max_new_tokens=2)
    free = model.generate_batch(PROMPTS[:1], logits_processor=[other], **small)
    assert [len(output.generated_tokens) for output in free.values()] == [2]
    paged = model.generate(ids, logits_processor=[other], cache_implementation="paged", **small)
    assert paged.numel() == ids.numel() + 2
    processor = [ConstraintLogitsProcessor(con)]
    static = model.generate(ids, logits_processor=processor, cache_implementation="static", max_new_tokens=5)
    assert con.check([static[0, ids.numel() :].tolist()]).first_error[0] == -1
    with pytest.raises(TypeError):
        model.generate(PROMPTS, None, None, None, None, None, None, None, None, None, None, None, "one too many")
    assert type(model).generate.__name__ == "generate"
    assert "logits_processor" in inspect.signature(model.generate).parameters


def test_bad_input_is_refused(model, con, bpe):
    with pytest.raises(fm.InputTypeError, match=r"dict of them by name, got list"), constrained_batching(model, [con]):
        pass
    with pytest.raises(fm.InputTypeError, match="got 'a': int"), constrained_batching(model, {"a": 1}):
        pass
    other = fm.Constraint.from_regex("a", fm.Vocabulary([b"a", None], 1))
    with pytest.raises(fm.InputError, match="different vocabularies"):
        generate_batch(model, PROMPTS[:2], [con, other])
    with pytest.raises(fm.InputError, match="6 inputs need 6 constraints"):
        generate_batch(model, PROMPTS, [con])
    with pytest.raises(fm.InputTypeError, match="list with one for each input, got int"):
        generate_batch(model, PROMPTS, 1)
    assert generate_batch(model, [], con) == []
    with constrained_batching(model, con):
        with pytest.raises(fm.InputError, match="already within"), constrained_batching(model, con):
            pass
        manager = model.init_continuous_batching(**options(bpe))
        with pytest.raises(fm.InputError, match=r"no constraint=….*got 'a'"):
            manager.add_request([5], constraint="a")
    model.generate_batch(PROMPTS[:1], persistent_manager=True, **options(bpe, max_new_tokens=2))
    with pytest.raises(fm.InputError, match="destroy_cached"), constrained_batching(model, con):
        pass


# ---- states and tables --------------------------------------------------------------------------------------


def request(name: str, prompt: list[int], generated: list[int], unseen: int = 0, before: int = 0) -> FutureRequestState:
    """A request as it is when a batch is prepared; `before`: that many of `generated` came before a preemption."""
    state = RequestState(name, initial_tokens=prompt + generated[:before], generated_tokens=generated[before:])
    state._true_initial_tokens = len(prompt) if before else 0
    state.position_offset = len(prompt) + len(generated) + unseen
    return FutureRequestState(state, has_new_token=True, complete_blocks={}, query_length=1)


def test_states_are_those_of_each_text(con, bpe):
    """Requests that grow, sit out, are preempted, taken back by a token, or replaced by another of the same id."""
    states = ours.ConstraintStates(con, torch.device("cpu"))
    draw = torch.Generator().manual_seed(0)
    texts: dict[str, list[int]] = {}
    for _ in range(200):
        names = [name for name in "abcdef" if torch.rand((), generator=draw) < 0.7]
        batch = []
        for name in names:
            text = texts.setdefault(name, [])
            kind = torch.rand((), generator=draw)
            if kind < 0.05:
                text.clear()
            elif kind < 0.1 and text:
                text.pop()
            else:
                state = con.walk([text])[0, -1] if text else con.initial_state
                allowed = con.allowed_tokens(int(state))
                text.append(int(allowed[torch.randint(len(allowed), (), generator=draw)]))
            before = int(torch.randint(len(text) + 1, (), generator=draw)) if kind > 0.9 else 0
            unseen = int(kind > 0.5)
            batch.append(request(name, [1, 2], list(text), unseen, before))
        numbers = states.prepare_tensor_args(batch)
        assert numbers.dtype == torch.int32
        for future, number in zip(batch, numbers.tolist(), strict=True):
            text = texts[future.state.request_id]
            expected = int(con.walk([text])[0, -1]) if text else con.initial_state
            assert number in (expected, ~expected)
            ahead = future.state.position_offset > 2 + len(text)
            assert (number < 0) == ahead


def test_more_than_one_unseen_token_is_an_error(con):
    states = ours.ConstraintStates(con, torch.device("cpu"))
    with pytest.raises(fm.GenerationError, match="2 are unknown"):
        states.prepare_tensor_args([request("a", [1], [], unseen=2)])


@pytest.mark.parametrize("captured", [False, True])
def test_several_constraints_in_one_range_of_numbers(con, digits, captured):
    """Masks and the reading of a last token against the constraints themselves, also captured as one graph."""
    states = ours.ConstraintStates({"a": con, "b": digits, "free": None}, torch.device("cpu"))
    rows = ours._ProcessorList(transformers.LogitsProcessorList([states]), states)
    assert rows.tensors_required == 1
    call = torch.compile(rows.__call__, fullgraph=True, backend="eager") if captured else rows
    draw = torch.Generator().manual_seed(0)
    batch, last, expected = [], [], []
    for name, own in (("a", con), ("b", digits), ("free", None)) * 4:
        token = int(torch.randint(WIDTH, (), generator=draw)) if own is None else int(own.allowed_tokens(3)[-1])
        for unseen in (0, 1):
            future = request(f"{name}{len(batch)}", [1], [], unseen)
            future.state.logit_processor_kwargs = {"constraint": name}
            batch.append(future)
            last.append(token if unseen else -1)  # a prompt's last token must not matter, nor what padding holds
            expected.append(
                torch.ones(WIDTH, dtype=torch.bool)
                if own is None
                else torch.from_numpy(own.allowed(own.advance(3, token) if unseen else 3))
            )
    storage = torch.zeros(1, 64, dtype=torch.int32)
    rows.prepare_tensor_args(batch, storage)
    before = storage.clone()
    masked = call(torch.tensor(last), torch.zeros(len(batch), WIDTH), storage[:, : len(batch)])
    assert torch.equal(masked.isfinite(), torch.stack(expected))
    assert torch.equal(storage, before)
