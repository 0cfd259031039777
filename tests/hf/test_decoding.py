"""Every way of decoding that transformers has: no token breaks the constraint, and every finished answer parses."""

from __future__ import annotations

from collections import Counter
from threading import Thread

import pytest

from tests.hf import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fastmask.hf import ConstraintLogitsProcessor  # noqa: E402

WAYS = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True},
    "temperature": {"do_sample": True, "temperature": 3.0},
    "top-k": {"do_sample": True, "top_k": 5, "temperature": 2.0},
    "nucleus": {"do_sample": True, "top_p": 0.5},
    "min-p": {"do_sample": True, "min_p": 0.5},
    "typical": {"do_sample": True, "typical_p": 0.5},
    "several samples": {"do_sample": True, "num_return_sequences": 4},
    "repetition penalty": {"do_sample": True, "repetition_penalty": 1.5},
    "classifier-free guidance": {"do_sample": True, "guidance_scale": 1.5},
    "renormalised": {"do_sample": True, "renormalize_logits": True},
    "beams": {"do_sample": False, "num_beams": 4},
    "all beams": {"do_sample": False, "num_beams": 4, "num_return_sequences": 4, "length_penalty": 0.0},
    "first beams to end": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2, "early_stopping": True},
    "beam sampling": {"do_sample": True, "num_beams": 4, "num_return_sequences": 2},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_for_a_batch(way, model, inputs, con, tokenizer):
    processor = ConstraintLogitsProcessor(con)
    finished = 0
    for seed in range(2):  # the same processor again
        generated = tiny.generate(model, inputs, processor, seed=seed, **WAYS[way])
        assert len(generated) == len(tiny.PROMPTS) * WAYS[way].get("num_return_sequences", 1)
        finished += tiny.assert_valid(generated, con, tokenizer)
    assert finished >= 3, "hardly an answer came to its end: this test would say nothing"


def test_an_unconstrained_model_fails_the_same_check(model, inputs, con):
    generated = tiny.generate(model, inputs, do_sample=True, max_new_tokens=20)
    assert (con.check(generated).first_error >= 0).all()


@pytest.mark.parametrize("behind", [True, False])
def test_a_penalty_on_either_side(behind, model, inputs, con, tokenizer):
    penalty = transformers.RepetitionPenaltyLogitsProcessor(2.0)
    processors = [ConstraintLogitsProcessor(con), penalty][:: 1 if behind else -1]
    generated = tiny.generate(model, inputs, *processors, do_sample=True)
    assert tiny.assert_valid(generated, con, tokenizer) == 3


# ---- speculation -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def assistant(bpe):
    """Another model, so that some of its drafts are taken and some are not."""
    return tiny.gpt2(bpe.eos, seed=1, n_embd=16)


SPECULATIONS = {
    "assistant": {},
    "assistant without a doubt": {"assistant_confidence_threshold": 0.0, "num_assistant_tokens": 9},
    "prompt lookup": {"prompt_lookup_num_tokens": 4},
}


@pytest.fixture
def calls(model, monkeypatch):
    """How often the model is asked, by the number of tokens that it is asked to read at once."""
    counted: Counter[int] = Counter()
    forward = model.forward

    def counting(*args, **kwargs):
        counted[kwargs["input_ids"].shape[1]] += 1
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", counting)
    return counted


def drafting(way: str, assistant) -> dict:
    return SPECULATIONS[way] | ({"assistant_model": assistant} if "assistant" in way else {})


@pytest.mark.parametrize("way", SPECULATIONS)
def test_speculation_gives_the_greedy_answer_with_fewer_calls(way, model, assistant, prompt, con, tokenizer, calls):
    processor = ConstraintLogitsProcessor(con)
    plain = tiny.generate(model, prompt, processor, do_sample=False)
    assert tiny.assert_valid(plain, con, tokenizer) == 1
    one_by_one = calls.total()
    calls.clear()
    speculated = tiny.generate(model, prompt, processor, do_sample=False, **drafting(way, assistant))
    assert torch.equal(speculated, plain)
    assert calls.total() < one_by_one == plain.shape[1]


@pytest.mark.parametrize("way", SPECULATIONS)
def test_speculation_while_sampling(way, model, assistant, prompt, con, tokenizer, calls):
    """Drafts are drawn and rejected at random: what the processor sees grows and shrinks."""
    processor = ConstraintLogitsProcessor(con)
    finished = 0
    for seed in range(4):
        generated = tiny.generate(model, prompt, processor, seed=seed, do_sample=True, **drafting(way, assistant))
        finished += tiny.assert_valid(generated, con, tokenizer)
    assert finished >= 3
    assert any(width > 1 and width < prompt["input_ids"].shape[1] for width in calls), "nothing was ever drafted"


def test_a_model_that_leaves_early_to_draft_for_itself(bpe, prompt, con, tokenizer):
    model = tiny.llama(bpe.eos)
    processor = ConstraintLogitsProcessor(con)
    plain = tiny.generate(model, prompt, processor, do_sample=False)
    early = tiny.generate(model, prompt, processor, do_sample=False, assistant_early_exit=1)
    assert tiny.assert_valid(plain, con, tokenizer) == 1
    assert torch.equal(early, plain)


# ---- streams and pipelines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("do_sample", [False, True])
def test_streamed_as_text(do_sample, model, prompt, con, tokenizer, capsys):
    streamer = transformers.TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    generated = tiny.generate(model, prompt, ConstraintLogitsProcessor(con), do_sample=do_sample, streamer=streamer)
    assert tiny.assert_valid(generated, con, tokenizer) == 1
    assert tiny.is_answer(capsys.readouterr().out)


def test_streamed_from_another_thread(model, prompt, con, tokenizer):
    streamer = transformers.TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=60)
    options = {"do_sample": True, "streamer": streamer}
    thread = Thread(target=tiny.generate, args=(model, prompt, ConstraintLogitsProcessor(con)), kwargs=options)
    thread.start()
    pieces = list(streamer)
    thread.join()
    assert len(pieces) > 3
    assert tiny.is_answer("".join(pieces))


TOKENS_IN_PIPELINE = 150  # enough for every answer
GIVEN = {"one prompt": tiny.PROMPTS[0], "a list": tiny.PROMPTS[:2], "more than a batch": tiny.PROMPTS}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_in_a_pipeline(model, con, tokenizer, given, batch_size):
    pipeline = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer, batch_size=batch_size)
    processor = ConstraintLogitsProcessor(con)
    prompts = GIVEN[given]
    for seed in range(2):
        torch.manual_seed(seed)
        outputs = pipeline(
            prompts, logits_processor=[processor], max_new_tokens=TOKENS_IN_PIPELINE, do_sample=True,
            return_full_text=False,
        )  # fmt: skip
        flat = [outputs[0]] if isinstance(prompts, str) else [output[0] for output in outputs]
        assert len(flat) == (1 if isinstance(prompts, str) else len(prompts))
        assert all(tiny.is_answer(output["generated_text"]) for output in flat)


def test_streamed_by_a_pipeline(model, con, tokenizer, capsys):
    pipeline = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer)
    streamer = transformers.TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    (output,) = pipeline(
        tiny.PROMPTS[0], logits_processor=[ConstraintLogitsProcessor(con)], max_new_tokens=TOKENS_IN_PIPELINE,
        do_sample=False, streamer=streamer, return_full_text=False,
    )  # fmt: skip
    assert tiny.is_answer(output["generated_text"])
    assert output["generated_text"] == capsys.readouterr().out.removesuffix("\n")


# ---- processors that want what the constraint forbids ------------------------------------------------------------

CONTRADICTIONS = {
    "an end where there is none": {"forced_eos_token_id": 0, "max_new_tokens": 12},
    "no end where there is one": {"min_new_tokens": 80},
    "a bracket banned": {"suppress_tokens": "all with a bracket"},
}


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
@pytest.mark.parametrize("decoding", [{"do_sample": False}, {"do_sample": True}, {"num_beams": 3}], ids=str)
def test_the_constraint_prevails(contradiction, decoding, model, inputs, con, tokenizer):
    """They would leave a row without any token: samplers break on it, and argmax takes the first."""
    options = dict(CONTRADICTIONS[contradiction])
    if "suppress_tokens" in options:
        options["suppress_tokens"] = [i for i, token in enumerate(con.vocabulary.tokens) if token and b"{" in token]
    generated = tiny.generate(model, inputs, ConstraintLogitsProcessor(con), **decoding, **options)
    finished = tiny.assert_valid(generated, con, tokenizer)
    assert finished >= 2 or options.get("max_new_tokens")


def test_a_free_row_may_be_left_with_nothing(con):
    """It is none of the constraint's business."""
    scores = torch.full((2, tiny.WIDTH), -torch.inf)
    masked = ConstraintLogitsProcessor([con, None])(torch.tensor([[1], [1]]), scores)
    assert torch.equal(masked[0] == 0, torch.from_numpy(con.allowed(con.initial_state)))
    assert (masked[1] == -torch.inf).all()
