"""Forced stretches appended instead of generated, against an implementation that has no cache to get wrong."""

from __future__ import annotations

import json
import re

import pytest

import fastmask as fm
from tests.hf import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fastmask.hf import ConstraintLogitsProcessor, generate_jumping_ahead  # noqa: E402

KINDS = ["positive as can be", "neither the one nor the other", "negative"]
LONG_KEYS = {
    "type": "object",
    "properties": {
        "the_kind_of_the_example": {"enum": KINDS},
        "the_tokens_of_the_example": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 4},
    },
    "required": ["the_kind_of_the_example", "the_tokens_of_the_example"],
}


def is_kind(text: str) -> bool:
    answer = json.loads(text)
    kind, letters = answer["the_kind_of_the_example"], answer["the_tokens_of_the_example"]
    return len(answer) == 2 and kind in KINDS and len(letters) <= 4 and set(letters) <= {"a", "b"}


@pytest.fixture(scope="module")
def kinds(vocabulary):
    return fm.Constraint.from_schema(LONG_KEYS, vocabulary)


@pytest.fixture(scope="module", params=[tiny.gpt2, tiny.llama])
def any_model(request, bpe):
    """Learned positions and rotary ones."""
    return request.param(bpe.eos)


@pytest.fixture(scope="module")
def ids(prompt):
    return prompt["input_ids"]


# ---- the answer --------------------------------------------------------------------------------------------------


@torch.no_grad()
def without_cache(model, tokenizer, con, ids, budget, do_sample) -> tuple[list[int], int]:
    """The same by its description: every call of the model reads everything. Returns the answer and the calls."""
    answer, calls = [], 0
    while len(answer) < budget and answer[-1:] != list(con.vocabulary.eos_token_ids):
        answer = with_what_is_forced(answer, con, tokenizer, budget)
        read = torch.cat([ids, torch.tensor([answer], dtype=torch.long)], dim=1)
        logits = model(read, use_cache=False).logits[0, -1]
        scores = logits.masked_fill(~leaves_time(state_of(answer, con), con, budget - len(answer) - 1), -torch.inf)
        chosen = torch.multinomial(scores.softmax(-1), 1) if do_sample else scores.argmax(-1)
        answer, calls = [*answer, int(chosen)], calls + 1
    return answer, calls


def state_of(answer, con) -> int:
    return int(con.walk([answer])[0, -1]) if answer else con.initial_state


def leaves_time(state, con, after) -> torch.Tensor:
    """bool [V]: tokens that are allowed, and after which no more than ``after`` are missing."""
    missing = con.distance(con.advance(torch.full((tiny.WIDTH,), state), torch.arange(tiny.WIDTH)))
    return torch.from_numpy(con.allowed(state)) & (missing >= 0) & (missing <= after)


def with_what_is_forced(answer, con, tokenizer, budget) -> list[int]:
    text, forced = tiny.bytes_of(answer, con.vocabulary), con.forced_bytes(state_of(answer, con))
    try:
        longer = tokenizer((text + forced).decode())["input_ids"][:-1] if forced else []
    except UnicodeDecodeError:
        return answer
    longer_text = tiny.bytes_of(longer, con.vocabulary)
    if len(longer_text) <= len(text) or len(longer) < len(answer):
        return answer
    return longer if len(longer) + con.distance(state_of(longer, con)) <= budget else answer


@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("budget", [55, 90])
def test_the_same_without_a_cache(any_model, kinds, ids, tokenizer, do_sample, budget):
    for seed in range(6 if do_sample else 1):
        torch.manual_seed(seed)
        result = generate_jumping_ahead(any_model, tokenizer, kinds, ids, max_new_tokens=budget, do_sample=do_sample)
        torch.manual_seed(seed)
        answer, calls = without_cache(any_model, tokenizer, kinds, ids, budget, do_sample)
        assert result.sequences.tolist() == [ids[0].tolist() + answer]
        assert result.model_calls == calls


@pytest.mark.parametrize("do_sample", [False, True])
def test_answers_are_whole_in_fewer_calls_than_tokens(any_model, kinds, ids, tokenizer, do_sample):
    for seed in range(5):
        torch.manual_seed(seed)
        result = generate_jumping_ahead(any_model, tokenizer, kinds, ids, max_new_tokens=120, do_sample=do_sample)
        assert torch.equal(result.sequences[:, : ids.shape[1]], ids)
        generated = result.sequences[:, ids.shape[1] :]
        assert is_kind(result.answer)
        assert tiny.texts_of(generated, tokenizer) == [result.answer]
        assert tiny.assert_valid(generated, kinds, tokenizer, is_kind) == 1
        assert result.model_calls + result.tokens_saved == generated.shape[1]
        assert result.tokens_saved > result.model_calls / 2


def test_a_call_for_each_token_where_nothing_is_forced(model, ids, tokenizer, vocabulary):
    con = fm.Constraint.from_regex("[a-z]{12}", vocabulary)
    result = generate_jumping_ahead(model, tokenizer, con, ids, max_new_tokens=15)
    plain = tiny.generate(
        model, {"input_ids": ids}, ConstraintLogitsProcessor(con, max_new_tokens=15), max_new_tokens=15, do_sample=False
    )
    assert torch.equal(result.sequences[:, ids.shape[1] :], plain)
    assert (result.tokens_saved, result.model_calls) == (0, plain.shape[1])


@pytest.mark.parametrize("text", ['{"the_kind_of_the_example": "naïve"}', "Grüße 日本語 🙂!", "someone else"])
def test_a_forced_text_is_spelled_as_the_tokenizer_would(any_model, ids, tokenizer, vocabulary, text):
    """But for its last token, which is the model's."""
    con = fm.Constraint.from_choices([text], vocabulary)
    result = generate_jumping_ahead(any_model, tokenizer, con, ids, max_new_tokens=80)
    spelled = tokenizer(text)["input_ids"]
    generated = result.sequences[0, ids.shape[1] :].tolist()
    assert result.answer == text
    assert generated[: len(spelled) - 1] == spelled[:-1]
    assert result.tokens_saved == len(spelled) - 1
    assert generated[-1] in vocabulary.eos_token_ids


def test_what_a_choice_leaves_is_spelled_with_it(any_model, ids, tokenizer, vocabulary):
    """The model begins one of two words; the tokenizer would have spelled the whole as one token."""
    con = fm.Constraint.from_choices(["Wednesday then", "Monday then"], vocabulary)
    result = generate_jumping_ahead(any_model, tokenizer, con, ids, max_new_tokens=20)
    spelled = tokenizer(result.answer)["input_ids"]
    assert result.answer in ("Wednesday then", "Monday then")
    assert result.sequences[0, ids.shape[1] :].tolist()[: len(spelled) - 1] == spelled[:-1]


def test_every_budget_is_kept(model, kinds, ids, tokenizer):
    least = kinds.distance(kinds.initial_state)
    for budget in range(least, least + 25):
        torch.manual_seed(budget)
        result = generate_jumping_ahead(model, tokenizer, kinds, ids, max_new_tokens=budget, do_sample=True)
        assert result.sequences.shape[1] - ids.shape[1] <= budget
        assert is_kind(result.answer)


def test_the_tokenizer_s_own_spelling_only_where_there_is_time_for_it(model, ids, tokenizer, vocabulary):
    """A text that it spells with twice as many tokens as would do."""
    text = "NUNUM"
    con, spelled = fm.Constraint.from_choices([text], vocabulary), tokenizer(text)["input_ids"]
    least = con.distance(con.initial_state)
    assert (least, len(spelled)) == (2, 4)
    for budget in range(least, len(spelled) + 2):
        result = generate_jumping_ahead(model, tokenizer, con, ids, max_new_tokens=budget)
        generated = result.sequences[0, ids.shape[1] :].tolist()
        assert result.answer == text
        assert len(generated) <= budget
        assert (generated[:3] == spelled[:3]) == (budget >= len(spelled))


def test_another_processor_behind_the_mask(model, ids, tokenizer, vocabulary):
    """All but one digit is taken away from what the mask leaves."""
    digit = vocabulary.tokens.index(b"7")
    banned = [i for i in range(tiny.WIDTH) if i not in (digit, *vocabulary.eos_token_ids)]
    only = transformers.LogitsProcessorList([transformers.SuppressTokensLogitsProcessor(banned)])
    con = fm.Constraint.from_regex("[0-9]{6}", vocabulary)
    result = generate_jumping_ahead(model, tokenizer, con, ids, max_new_tokens=9, do_sample=True, logits_processor=only)
    assert result.answer == "777777"


@pytest.mark.parametrize("name", ["gpt2", "llama2", "llama3"])
def test_real_tokenizers(name):
    """SentencePiece among them, which puts a space before a text of its own."""
    from tests import vocabularies

    real = vocabularies.real(name)
    model = tiny.llama(real.eos, vocab_size=real.vocabulary.size, hidden_size=16)
    con = fm.Constraint.from_schema(LONG_KEYS, real.vocabulary)
    ids = torch.tensor([real.tokenizer("An example:")["input_ids"]])
    for seed in range(3):
        torch.manual_seed(seed)
        result = generate_jumping_ahead(model, real.tokenizer, con, ids, max_new_tokens=100, do_sample=True)
        assert is_kind(result.answer)
        assert (con.check(result.sequences[:, ids.shape[1] :]).first_error == -1).all()
        assert result.tokens_saved > 5


# ---- what it does not take ---------------------------------------------------------------------------------------


def test_encoder_decoders_are_refused(bpe, kinds, ids, tokenizer):
    with pytest.raises(fm.InputError, match="encoder-decoder"):
        generate_jumping_ahead(tiny.t5(bpe.eos), tokenizer, kinds, ids, max_new_tokens=90)


@pytest.mark.parametrize("shape", [(2, 3), (3,), (1, 1, 3), (0, 3)])
def test_other_than_one_prompt_is_refused(model, kinds, tokenizer, shape):
    with pytest.raises(fm.InputError, match=re.escape(f"[1, P], got shape {shape}")):
        generate_jumping_ahead(model, tokenizer, kinds, torch.ones(shape, dtype=torch.long), max_new_tokens=90)


def test_too_small_a_budget_is_refused(model, kinds, ids, tokenizer):
    least = kinds.distance(kinds.initial_state)
    with pytest.raises(fm.InputError, match=rf"{least} tokens.*got {least - 1}$"):
        generate_jumping_ahead(model, tokenizer, kinds, ids, max_new_tokens=least - 1)


def test_a_constraint_of_another_model_is_refused(bpe, kinds, ids, tokenizer):
    with pytest.raises(fm.InputError, match=rf"600 wide.*{tiny.WIDTH}"):
        generate_jumping_ahead(tiny.gpt2(bpe.eos, vocab_size=600), tokenizer, kinds, ids, max_new_tokens=90)


def test_a_constraint_without_bytes_is_refused(model, ids, tokenizer, bpe):
    from outlines_core import Index

    from tests.compare import outlines_vocabulary

    con = fm.Constraint.from_index(Index("(yes|no)!", outlines_vocabulary(bpe.tokens, bpe.eos)), bpe.vocabulary)
    with pytest.raises(fm.InputError, match=r"knows no bytes; make it from_regex"):
        generate_jumping_ahead(model, tokenizer, con, ids, max_new_tokens=9)
