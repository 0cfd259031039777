"""The logits processor in transformers, with a tiny GPT-2 made on the spot: every finished answer is parsed."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest

import fastmask as fm
from tests.cases import SCHEMAS, UPOS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fastmask.hf import ConstraintLogitsProcessor  # noqa: E402

PROMPTS = ["Get well soon", "She bought tea", "yes no maybe Monday"]
# Short enough to be finished by a model that knows nothing.
SHORT_SCHEMA = {
    "type": "object",
    "properties": {"pos": {"enum": UPOS}, "n": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3}},
    "required": ["pos", "n"],
    "additionalProperties": False,
}
TOKENS = 90


def is_answer(text: str) -> bool:
    answer = json.loads(text)
    return (
        set(answer) == {"pos", "n"}
        and answer["pos"] in UPOS
        and len(answer["n"]) <= 3
        and set(answer["n"]) <= {"a", "b"}
    )


@pytest.fixture(scope="module")
def model(bpe):
    """Untrained, wider than its tokenizer, and without an opinion: temperature 1 draws from all that is allowed."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=640,
        n_positions=256,
        n_embd=32,
        n_layer=1,
        n_head=2,
        bos_token_id=bpe.eos,
        eos_token_id=bpe.eos,
        pad_token_id=bpe.eos,
    )
    return transformers.GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def con(bpe):
    return fm.Constraint.from_schema(SHORT_SCHEMA, fm.Vocabulary.from_tokenizer(bpe.tokenizer, size=640))


@pytest.fixture(scope="module")
def inputs(bpe):
    """Prompts of unequal lengths, padded on the left."""
    bpe.tokenizer.padding_side = "left"
    encoded = bpe.tokenizer(PROMPTS, return_tensors="pt", padding=True)
    assert (encoded["attention_mask"] == 0).any()
    return encoded


def answers_of(sequences, prompt_length: int, bpe) -> list[str]:
    return bpe.tokenizer.batch_decode(sequences[:, prompt_length:], skip_special_tokens=True)


def assert_valid(sequences, prompt_length: int, con, bpe) -> int:
    """No token ever broke the constraint, and what is finished parses; returns how many are."""
    verdict = con.check(sequences[:, prompt_length:])
    assert (verdict.first_error == -1).all()
    finished = [
        text for text, done in zip(answers_of(sequences, prompt_length, bpe), verdict.complete, strict=True) if done
    ]
    assert all(map(is_answer, finished))
    return len(finished)


WAYS = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True},
    "top-k": {"do_sample": True, "top_k": 5, "temperature": 2.0},
    "nucleus": {"do_sample": True, "top_p": 0.5},
    "several samples": {"do_sample": True, "num_return_sequences": 4},
    "beams": {"do_sample": False, "num_beams": 4},
    "all beams": {"do_sample": False, "num_beams": 4, "num_return_sequences": 4, "length_penalty": 0.0},
    "beam sampling": {"do_sample": True, "num_beams": 4, "num_return_sequences": 2},
    "prompt lookup": {"do_sample": False, "prompt_lookup_num_tokens": 3},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_decoding(way, model, inputs, con, bpe):
    options, length = WAYS[way], inputs["input_ids"].shape[1]
    batches = [{k: v[i : i + 1] for k, v in inputs.items()} for i in range(3)] if way == "prompt lookup" else [inputs]
    processor = ConstraintLogitsProcessor(con)
    finished = 0
    for seed in range(2):  # the same processor again and again
        for batch in batches:
            torch.manual_seed(seed)
            sequences = model.generate(**batch, **options, logits_processor=[processor], max_new_tokens=TOKENS)
            assert len(sequences) == len(batch["input_ids"]) * options.get("num_return_sequences", 1)
            finished += assert_valid(sequences, length, con, bpe)
    assert finished >= 3, "hardly an answer came to its end: this test would say nothing"


def test_an_unconstrained_model_fails_the_same_check(model, inputs, con):
    torch.manual_seed(0)
    sequences = model.generate(**inputs, do_sample=True, max_new_tokens=20)
    assert (con.check(sequences[:, inputs["input_ids"].shape[1] :]).first_error >= 0).all()


def test_a_left_padded_row_is_generated_as_it_would_be_alone(model, inputs, con, bpe):
    processor = ConstraintLogitsProcessor(con)
    length = inputs["input_ids"].shape[1]
    together = model.generate(**inputs, do_sample=False, logits_processor=[processor], max_new_tokens=30)
    for i, prompt in enumerate(PROMPTS):
        alone = bpe.tokenizer(prompt, return_tensors="pt")
        sequence = model.generate(**alone, do_sample=False, logits_processor=[processor], max_new_tokens=30)
        assert answers_of(together[i : i + 1], length, bpe) == answers_of(sequence, alone["input_ids"].shape[1], bpe)


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


def test_two_generations_interleaved(con, bpe):
    """As two servers' threads would call it, one step of each in turn, on prompts of which one begins the other."""
    processor = ConstraintLogitsProcessor(con)
    rows = {"a": [[5, 6, 7]], "b": [[5, 6, 7, 8, 9, 10]], "c": [[9], [8]]}
    states = {name: torch.full((len(ids),), con.initial_state) for name, ids in rows.items()}
    ids = {name: torch.tensor(row) for name, row in rows.items()}
    draw = torch.Generator().manual_seed(0)
    for _ in range(40):
        for name in rows:
            scores = torch.randn(len(ids[name]), 640, generator=draw)
            masked = processor(ids[name], scores)
            assert torch.equal(masked.isfinite(), con.allowed(states[name]))
            chosen = masked.argmax(-1)
            states[name] = con.advance(states[name], chosen)
            ids[name] = torch.cat([ids[name], chosen[:, None]], dim=1)


def test_beams_that_change_places(con):
    """Nobody says which beam a row came from; the ids do."""
    processor = ConstraintLogitsProcessor(con)
    draw = torch.Generator().manual_seed(0)
    ids, states = torch.full((6, 4), 9), torch.full((6,), con.initial_state)
    for _ in range(30):
        masked = processor(ids, torch.randn(6, 640, generator=draw))
        assert torch.equal(masked.isfinite(), con.allowed(states))
        origin = torch.randint(6, (6,), generator=draw)
        chosen = masked[origin].argmax(-1)
        ids, states = torch.cat([ids[origin], chosen[:, None]], dim=1), con.advance(states[origin], chosen)


def test_a_given_prompt_length_needs_no_memory(con, bpe):
    prompt = [5, 6, 7]
    ids = [int(con.allowed_tokens(con.initial_state)[0])]
    processor = ConstraintLogitsProcessor(con, prompt_length=3)
    for generated in ([], ids):
        masked = processor(torch.tensor([prompt + generated]), torch.zeros(1, 640))
        state = con.walk([generated])[0, -1] if generated else con.initial_state
        assert torch.equal(masked[0].isfinite(), torch.from_numpy(con.allowed(state)))


def test_finished_and_dead_rows_keep_a_way_out(con, bpe):
    processor = ConstraintLogitsProcessor(con, prompt_length=0)
    dead, padding = [[9, 9, 9]], [[bpe.eos] * 3]
    for ids in (dead, padding):
        masked = processor(torch.tensor(ids), torch.zeros(1, 640))
        assert masked.isfinite().nonzero().tolist() == [[0, bpe.eos]]


def test_scores_are_not_written_to(con):
    scores = torch.randn(2, 640)
    before = scores.clone()
    processor = ConstraintLogitsProcessor(con)
    masked = processor(torch.tensor([[1], [2]]), scores)
    assert torch.equal(scores, before)
    assert masked.data_ptr() != scores.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_scores_wider_than_the_vocabulary(con, dtype):
    masked = ConstraintLogitsProcessor(con)(torch.tensor([[1]]), torch.zeros(1, 700, dtype=dtype))
    assert masked.dtype == dtype
    assert (masked[:, 640:] == -torch.inf).all()
    assert torch.equal(masked[0, :640].isfinite(), torch.from_numpy(con.allowed(con.initial_state)))


def test_logits_narrower_than_the_vocabulary_are_refused(con):
    with pytest.raises(fm.InputError, match=r"600 wide.*640.*size=model\.config\.vocab_size"):
        ConstraintLogitsProcessor(con)(torch.tensor([[1]]), torch.zeros(1, 600))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("no constraint",), pytest.raises(fm.InputTypeError, match="Constraint")),
        ((None,), pytest.raises(fm.InputTypeError, match="Constraint, got NoneType")),
        ((-1,), pytest.raises(fm.InputError, match="-1")),
        ((1.5,), pytest.raises(fm.InputTypeError, match=r"prompt_length.*1\.5")),
        ((0,), nullcontext()),
    ],
)
def test_bad_arguments_are_refused(con, arguments, error):
    with error:
        if isinstance(arguments[0], (int, float)):
            ConstraintLogitsProcessor(con, prompt_length=arguments[0])
        else:
            ConstraintLogitsProcessor(*arguments)


def test_a_prompt_length_beyond_the_ids_is_refused(con):
    with pytest.raises(fm.InputError, match="prompt_length 5 lies beyond the 2 ids"):
        ConstraintLogitsProcessor(con, prompt_length=5)(torch.tensor([[1, 2]]), torch.zeros(1, 640))


@pytest.mark.parametrize("given", [PROMPTS[0], PROMPTS[:2], PROMPTS], ids=["one prompt", "a list", "more than a batch"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_in_a_pipeline(model, con, bpe, given, batch_size):
    pipeline = transformers.pipeline("text-generation", model=model, tokenizer=bpe.tokenizer, batch_size=batch_size)
    processor = ConstraintLogitsProcessor(con)
    for seed in range(2):
        torch.manual_seed(seed)
        outputs = pipeline(
            given, logits_processor=[processor], max_new_tokens=TOKENS, do_sample=True, return_full_text=False
        )
        flat = [outputs[0]] if isinstance(given, str) else [output[0] for output in outputs]
        assert len(flat) == (1 if isinstance(given, str) else len(given))
        texts = [output["generated_text"] for output in flat]
        verdict = con.check(bpe.tokenizer(texts)["input_ids"])  # spelled anew, which matters to no constraint
        assert (verdict.first_error == -1).all()
        assert all(is_answer(text) for text, complete in zip(texts, verdict.complete, strict=True) if complete)


def test_the_article_s_schema(model, inputs, bpe):
    con = fm.Constraint.from_schema(SCHEMAS["upos"], fm.Vocabulary.from_tokenizer(bpe.tokenizer, size=640))
    torch.manual_seed(0)
    sequences = model.generate(
        **inputs, do_sample=True, max_new_tokens=60, logits_processor=[ConstraintLogitsProcessor(con)]
    )
    generated = sequences[:, inputs["input_ids"].shape[1] :]
    assert (con.check(generated).first_error == -1).all()
