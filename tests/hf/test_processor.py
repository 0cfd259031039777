"""The logits processor itself, called as transformers calls it; and what it is taken for granted to survive."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

import fastmask as fm
from tests.hf import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fastmask.hf import ConstraintLogitsProcessor, generate_jumping_ahead, vocabulary_for  # noqa: E402


def test_masks_are_those_of_the_states(model, inputs, con):
    """Scores after the processor against the constraint itself, step by step; the model's own logits stay whole."""
    processor = ConstraintLogitsProcessor(con)
    result = model.generate(
        **inputs, do_sample=False, logits_processor=[processor], max_new_tokens=25,
        output_scores=True, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    states = torch.full((3,), con.initial_state)
    generated = result.sequences[:, inputs["input_ids"].shape[1] :]
    for step, (scores, logits) in enumerate(zip(result.scores, result.logits, strict=True)):
        allowed = con.allowed(states)
        assert torch.equal(scores.isfinite(), allowed)
        assert torch.equal(scores[allowed], logits[allowed].float())
        assert logits.isfinite().all()
        states = con.advance(states, generated[:, step])


# ---- which generation a call belongs to --------------------------------------------------------------------------


def test_beams_that_change_places(con):
    """Nobody says which beam a row came from; the ids do."""
    processor, beams = ConstraintLogitsProcessor(con), tiny.Driven(con, [[9] * 4] * 6)
    for _ in range(30):
        beams.step(processor, reordered=True)


def test_generations_interleaved(con):
    """As two servers' threads would call it, one step of each in turn, on prompts of which one begins the other."""
    processor = ConstraintLogitsProcessor(con)
    generations = [tiny.Driven(con, ids) for ids in ([[5, 6, 7]], [[5, 6, 7, 8, 9, 10]], [[9], [8]])]
    for _ in range(40):
        for generation in generations:
            generation.step(processor)


def test_a_long_generation_beside_many_short_ones(con):
    """What is still in use is not forgotten, however much begins and ends in the meantime."""
    processor, long = ConstraintLogitsProcessor(con), tiny.Driven(con, [[5, 6, 7]])
    for seed in range(60):
        long.step(processor)
        short = tiny.Driven(con, [[8, seed]], seed)
        for _ in range(3):
            short.step(processor)


def test_generations_in_threads(con):
    """One processor for all of them, as in a server."""
    processor = ConstraintLogitsProcessor(con)

    def work(seed: int) -> int:
        for round_ in range(5):
            generation = tiny.Driven(con, [[seed, 200 + round_]] * 3, seed)
            for _ in range(20):
                generation.step(processor, reordered=True)
        return generation.ids.shape[1]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [22] * 8


def test_models_in_threads(model, con, tokenizer):
    processor = ConstraintLogitsProcessor(con)
    prompts = [tokenizer(prompt, return_tensors="pt") for prompt in tiny.PROMPTS]
    inputs = [{"input_ids": encoded["input_ids"]} for encoded in prompts]
    alone = [tiny.generate(model, given, ConstraintLogitsProcessor(con), do_sample=False) for given in inputs]
    with ThreadPoolExecutor(3) as pool:
        generate = [pool.submit(tiny.generate, model, given, processor, do_sample=False) for given in inputs * 2]
    for future, expected in zip(generate, alone * 2, strict=True):
        assert torch.equal(future.result(), expected)


def test_a_conversation(model, prompt, con, tokenizer):
    """Each prompt holds the last one, its answer and a further question."""
    processor, ids = ConstraintLogitsProcessor(con), prompt["input_ids"]
    for question in ("Get well soon", "yes", "She bought tea"):
        ids = torch.cat([ids, tokenizer(question, return_tensors="pt")["input_ids"]], dim=1)
        answer = tiny.generate(model, {"input_ids": ids}, processor, do_sample=True, max_new_tokens=40)
        tiny.assert_valid(answer, con, tokenizer)
        ids = torch.cat([ids, answer], dim=1)


@pytest.mark.parametrize("more", [2, 5])
def test_a_longer_prompt_that_begins_as_the_last_one_did(con, more):
    """Its further tokens are not what was generated behind the last one, so they are a prompt's."""
    processor, first = ConstraintLogitsProcessor(con), tiny.Driven(con, [[5, 6, 7]])
    for _ in range(20):
        first.step(processor)
    second = tiny.Driven(con, [[5, 6, 7, *[9] * more]])
    for _ in range(20):
        second.step(processor)


def test_another_number_of_rows_is_another_generation(con):
    processor = ConstraintLogitsProcessor(con)
    for rows in (1, 4, 2):
        generation = tiny.Driven(con, [[5, 6, 7]] * rows)
        for _ in range(10):
            generation.step(processor)


# ---- into another process ----------------------------------------------------------------------------------------


def allowed_by(processor: ConstraintLogitsProcessor, ids: torch.Tensor) -> torch.Tensor:
    return processor(ids, torch.zeros(len(ids), tiny.WIDTH)).isfinite()


def test_a_processor_travels_to_another_process(con, other_process):
    processor, generation = ConstraintLogitsProcessor(con), tiny.Driven(con, [[5, 6, 7], [8, 9, 10]])
    assert torch.equal(other_process(allowed_by, processor, generation.ids), con.allowed(generation.states))
    for _ in range(12):
        generation.step(processor)
    sent = other_process(allowed_by, processor, generation.ids)  # in mid-generation: it knows where the prompt ends
    assert torch.equal(sent, con.allowed(generation.states))


def test_a_copy_goes_its_own_way(con):
    processor, generation = ConstraintLogitsProcessor(con), tiny.Driven(con, [[5, 6, 7]])
    for _ in range(5):
        generation.step(processor)
    copied, ids, states = pickle.loads(pickle.dumps(processor)), generation.ids, generation.states
    for _ in range(5):
        generation.step(copied)
    assert torch.equal(allowed_by(processor, ids), con.allowed(states))


# ---- one call ----------------------------------------------------------------------------------------------------


def test_a_given_prompt_length_needs_no_memory(con):
    prompt = [5, 6, 7]
    ids = [int(con.allowed_tokens(con.initial_state)[0])]
    processor = ConstraintLogitsProcessor(con, prompt_length=3)
    for generated in ([], ids):
        masked = processor(torch.tensor([prompt + generated]), torch.zeros(1, tiny.WIDTH))
        state = con.walk([generated])[0, -1] if generated else con.initial_state
        assert torch.equal(masked[0].isfinite(), torch.from_numpy(con.allowed(state)))


def test_a_given_prompt_length_holds_for_any_ids(con):
    """In any order, of any generation, from the middle of one: every call says all."""
    processor, lengths = ConstraintLogitsProcessor(con, prompt_length=2), [5, 0, 3, 9, 1]
    for seed, length in enumerate(lengths):
        generation, other = tiny.Driven(con, [[5, seed], [seed, 6]], seed), ConstraintLogitsProcessor(con)
        for _ in range(length):
            generation.step(other)
        assert torch.equal(allowed_by(processor, generation.ids), con.allowed(generation.states))


def test_finished_and_dead_rows_keep_a_way_out(con, bpe):
    processor = ConstraintLogitsProcessor(con, prompt_length=0)
    dead, padding = [[9, 9, 9]], [[bpe.eos] * 3]
    for ids in (dead, padding):
        masked = processor(torch.tensor(ids), torch.zeros(1, tiny.WIDTH))
        assert masked.isfinite().nonzero().tolist() == [[0, bpe.eos]]


def test_scores_are_not_written_to(con):
    scores = torch.randn(2, tiny.WIDTH)
    before = scores.clone()
    processor = ConstraintLogitsProcessor(con)
    masked = processor(torch.tensor([[1], [2]]), scores)
    assert torch.equal(scores, before)
    assert masked.data_ptr() != scores.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_scores_wider_than_the_vocabulary(con, dtype):
    masked = ConstraintLogitsProcessor(con)(torch.tensor([[1]]), torch.zeros(1, 700, dtype=dtype))
    assert masked.dtype == dtype
    assert (masked[:, tiny.WIDTH :] == -torch.inf).all()
    assert torch.equal(masked[0, : tiny.WIDTH].isfinite(), torch.from_numpy(con.allowed(con.initial_state)))


def test_logits_narrower_than_the_vocabulary_are_refused(con):
    with pytest.raises(fm.InputError, match=rf"600 wide.*{tiny.WIDTH}.*size=model\.config\.vocab_size"):
        ConstraintLogitsProcessor(con)(torch.tensor([[1]]), torch.zeros(1, 600))


def test_logits_wider_than_padding_makes_them_are_told(con):
    """Of 640 tokens, padded ones have at most 1,664; warnings are errors in these tests."""
    ConstraintLogitsProcessor(con)(torch.tensor([[1]]), torch.zeros(1, tiny.WIDTH + 1024))
    with pytest.warns(fm.VocabularyWarning, match="1,665 wide and the vocabulary has 640 tokens"):
        ConstraintLogitsProcessor(con)(torch.tensor([[1]]), torch.zeros(1, tiny.WIDTH + 1025))


IDS, SCORES = torch.tensor([[1]]), torch.zeros(1, tiny.WIDTH)


@pytest.mark.parametrize(
    ("ids", "scores", "message"),
    [
        (IDS, SCORES.numpy(), "logits must be a dense tensor of floats, got ndarray"),
        (IDS.numpy(), SCORES, "ids .* as a tensor, got ndarray"),
        (IDS.tolist(), SCORES, "ids .* as a tensor, got list"),
        (IDS.float(), SCORES, "integers, got torch.float32"),
    ],
)
def test_a_call_takes_tensors(con, ids, scores, message):
    with pytest.raises(fm.InputTypeError, match=message):
        ConstraintLogitsProcessor(con)(ids, scores)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"constraint": "no constraint"}, fm.InputTypeError, "Constraint, got str"),
        ({"constraint": None}, fm.InputTypeError, "Constraint, got NoneType"),
        ({"constraint": []}, fm.InputTypeError, r"one for each prompt, got \[\]"),
        ({"constraint": [None, None]}, fm.InputTypeError, "one for each prompt"),
        ({"constraint": ["no constraint"]}, fm.InputTypeError, "Constraint, got str"),
        ({"prompt_length": -1}, fm.InputError, "prompt_length.*-1"),
        ({"prompt_length": 1.5}, fm.InputTypeError, r"prompt_length.*1\.5"),
        ({"max_new_tokens": -1}, fm.InputError, "max_new_tokens.*-1"),
        ({"max_new_tokens": "many"}, fm.InputTypeError, "max_new_tokens.*many"),
        ({"start": 5}, fm.InputTypeError, "start.*5"),
        ({"start": b"<answer>"}, fm.InputTypeError, "start.*<answer>"),
        ({"start": ""}, fm.InputError, "empty"),
    ],
)
def test_bad_arguments_are_refused(con, arguments, error, message):
    ConstraintLogitsProcessor(con, prompt_length=0, max_new_tokens=50, start="so", force_eos=True)
    with pytest.raises(error, match=message):
        ConstraintLogitsProcessor(**({"constraint": con} | arguments))


@pytest.mark.parametrize("force_eos", ["yes", 1, None])
def test_force_eos_is_a_boolean(con, force_eos):
    with pytest.raises(fm.InputTypeError, match="force_eos"):
        ConstraintLogitsProcessor(con, force_eos=force_eos)


@pytest.mark.parametrize("trigger", [-1, tiny.WIDTH, 10**9])
def test_a_trigger_beyond_the_vocabulary_is_refused(con, trigger):
    with pytest.raises(fm.TokenRangeError, match=f"{trigger}.*{tiny.WIDTH - 1}"):
        ConstraintLogitsProcessor(con, start=fm.after(trigger))


def test_a_trigger_that_ends_generation_is_refused(con, bpe):
    with pytest.raises(fm.InputError, match=rf"after\({bpe.eos}\) is an EOS"):
        ConstraintLogitsProcessor([con, None], start=fm.after(bpe.eos))


def test_a_prompt_length_beyond_the_ids_is_refused(con):
    with pytest.raises(fm.InputError, match="prompt_length 5 lies beyond the 2 ids"):
        ConstraintLogitsProcessor(con, prompt_length=5)(torch.tensor([[1, 2]]), torch.zeros(1, tiny.WIDTH))


def test_an_unknown_id_is_named_and_forgotten(con):
    """As from another tokenizer; the generation can go on with what is right."""
    processor, generation = ConstraintLogitsProcessor(con), tiny.Driven(con, [[5, 6, 7], [8, 9, 10]])
    for _ in range(3):
        generation.step(processor)
    wrong = generation.ids.clone()
    wrong[1, -1] = tiny.WIDTH
    with pytest.raises(fm.TokenRangeError, match=rf"token id {tiny.WIDTH} at row 1, generated token 2"):
        processor(wrong, torch.zeros(2, tiny.WIDTH))
    for _ in range(10):
        generation.step(processor)


def test_arguments_in_the_wrong_place_are_told(con, model, bpe):
    with pytest.raises(fm.InputTypeError, match="takes a transformers model first"):
        vocabulary_for(bpe.tokenizer, model)
    with pytest.raises(fm.InputTypeError, match=r"its.*input_ids"):
        generate_jumping_ahead(model, bpe.tokenizer, con, bpe.tokenizer("a", return_tensors="pt"), max_new_tokens=60)
