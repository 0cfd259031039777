"""Answers that end in time: with ``max_new_tokens`` no random draw of an endless format is ever cut off."""

from __future__ import annotations

import json
import re

import pytest

import fastmask as fm
from tests.cases import SCHEMAS, UPOS
from tests.hf import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fastmask.hf import ConstraintLogitsProcessor  # noqa: E402

MOST = 60  # tokens of the largest budget that is tried
WORDS = {
    "type": "object",
    "properties": {"words": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
    "required": ["words"],
}


def are_words(text: str) -> bool:
    answer = json.loads(text)
    words = answer["words"]
    return set(answer) == {"words"} and len(words) >= 1 and all(isinstance(word, str) for word in words)


def is_annotated(text: str) -> bool:
    answer = json.loads(text)
    return set(answer) == {"tokens"} and all(
        set(token) == {"text", "pos"} and isinstance(token["text"], str) and token["pos"] in UPOS
        for token in answer["tokens"]
    )


def is_text(text: str) -> bool:
    return re.fullmatch("a.*!", text, re.DOTALL) is not None


# Endless arrays, endless strings, both.
FORMS = {"annotated": is_annotated, "words": are_words, "text": is_text}


@pytest.fixture(scope="module")
def endless(vocabulary):
    return {
        "annotated": fm.Constraint.from_schema(SCHEMAS["upos"], vocabulary),
        "words": fm.Constraint.from_schema(WORDS, vocabulary),
        "text": fm.Constraint.from_regex("(?s)a.*!", vocabulary),
    }


def least(con: fm.Constraint) -> int:
    return con.distance(con.initial_state)


def valid(generated, con, is_valid) -> list[bool]:
    """Is each row's text, up to EOS, an answer? Told without fastmask."""
    return [parses(tiny.bytes_of(row, con.vocabulary), is_valid) for row in generated.tolist()]


def parses(text: bytes, is_valid) -> bool:
    try:
        return is_valid(text.decode())
    except ValueError:
        return False


@pytest.mark.parametrize("form", FORMS)
def test_every_answer_within_every_budget_is_whole(form, model, inputs, endless, tokenizer):
    con = endless[form]
    cut_off = 0
    for budget in range(least(con), MOST + 1):
        options = {"seed": budget, "max_new_tokens": budget, "do_sample": True, "num_return_sequences": 4}
        generated = tiny.generate(model, inputs, ConstraintLogitsProcessor(con, max_new_tokens=budget), **options)
        assert generated.shape[1] <= budget
        assert valid(generated, con, FORMS[form]) == [True] * 12
        if budget % 10 == 0:
            free = tiny.generate(model, inputs, ConstraintLogitsProcessor(con), **options)
            cut_off += valid(free, con, FORMS[form]).count(False)
    assert cut_off > 10, "they would have ended anyway: this test would say nothing"


WAYS = {
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 4, "num_return_sequences": 4},
    "beam sampling": {"do_sample": True, "num_beams": 3},
    "nucleus": {"do_sample": True, "top_p": 0.3},
}


@pytest.mark.parametrize("budget", ["least", 17, MOST])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_decoding_ends_in_time(way, budget, model, inputs, endless):
    con = endless["annotated"]
    budget = least(con) if budget == "least" else budget
    processor = ConstraintLogitsProcessor(con, max_new_tokens=budget)
    for seed in range(2):
        generated = tiny.generate(model, inputs, processor, seed=seed, max_new_tokens=budget, **WAYS[way])
        assert all(valid(generated, con, is_annotated))


@pytest.mark.parametrize("way", [{"prompt_lookup_num_tokens": 5}, {"assistant_model": "another"}], ids=str)
def test_speculation_ends_in_time(way, bpe, model, prompt, endless):
    con = endless["annotated"]
    assistant = {"assistant_model": tiny.gpt2(bpe.eos, seed=1, n_embd=16)} if "assistant_model" in way else {}
    for budget in (least(con), 20, 45):
        processor = ConstraintLogitsProcessor(con, max_new_tokens=budget)
        generated = tiny.generate(model, prompt, processor, max_new_tokens=budget, do_sample=True, **way | assistant)
        assert all(valid(generated, con, is_annotated))


def test_an_encoder_decoder_ends_in_time(bpe, inputs, endless):
    con, model = endless["words"], tiny.t5(bpe.eos)
    for budget in (least(con), 25):
        processor = ConstraintLogitsProcessor(con, max_new_tokens=budget)
        generated = tiny.generate(model, inputs, processor, max_new_tokens=budget, do_sample=True)
        assert all(valid(generated, con, are_words))


def test_both_ends(model, inputs, endless):
    """``force_eos`` ends as soon as it may, the budget as late as it must."""
    con = endless["text"]
    ends = {i for i, token in enumerate(con.vocabulary.tokens) if token and token.endswith(b"!")}
    for budget in (least(con), 9, 30):
        processor = ConstraintLogitsProcessor(con, force_eos=True, max_new_tokens=budget)
        generated = tiny.generate(model, inputs, processor, max_new_tokens=budget, do_sample=True)
        for row in generated.tolist():
            (end,) = [position for position, token in enumerate(row) if token in ends]
            assert set(row[end + 1 :]) <= set(con.vocabulary.eos_token_ids)


def test_each_row_ends_in_time(model, inputs, endless):
    forms = ["words", "text"]
    budget = max(least(endless[form]) for form in forms)
    processor = ConstraintLogitsProcessor([*[endless[form] for form in forms], None], max_new_tokens=budget)
    for seed in range(5):
        generated = tiny.generate(
            model, inputs, processor, seed=seed, max_new_tokens=budget, do_sample=True, num_return_sequences=2
        )
        for rows, form in zip(generated.split(2), forms, strict=False):
            assert all(valid(rows, endless[form], FORMS[form]))


def test_masks_keep_what_can_still_be_completed(endless):
    """Far from the end that is all that is allowed; near it, each token is held to the distance behind it."""
    con = endless["annotated"]
    budget, every = 40, torch.arange(tiny.WIDTH)
    steered = ConstraintLogitsProcessor(con, max_new_tokens=budget)
    plain = ConstraintLogitsProcessor(con)
    draw = torch.Generator().manual_seed(0)
    ids, state = torch.tensor([[9]]), con.initial_state
    untouched = narrowed = 0
    for remaining in range(budget, 0, -1):
        scores = torch.randn(1, tiny.WIDTH, generator=draw)
        mask, free = steered(ids, scores), plain(ids, scores)
        following = con.advance(torch.full((tiny.WIDTH,), state), every)
        left = con.distance(following)
        assert torch.equal(mask, free.masked_fill((left > remaining - 1) | (left < 0), -torch.inf))
        untouched += torch.equal(mask, free)
        narrowed += not torch.equal(mask, free)
        chosen = mask.argmax(-1)
        ids, state = torch.cat([ids, chosen[:, None]], dim=1), con.advance(state, int(chosen))
        if state == fm.DONE:
            break
    assert untouched > 5
    assert narrowed > 5


def test_masks_far_from_the_end_are_untouched(endless):
    con = endless["annotated"]
    generation, processor = tiny.Driven(con, [[5, 6]]), ConstraintLogitsProcessor(con, max_new_tokens=10_000)
    for _ in range(40):
        generation.step(processor)


@pytest.mark.parametrize("form", FORMS)
def test_too_small_a_budget_is_refused(form, model, inputs, endless):
    con = endless[form]
    needed = least(con)
    for budget in (0, needed - 1):
        processor = ConstraintLogitsProcessor(con, max_new_tokens=budget)
        with pytest.raises(fm.InputError, match=rf"{needed} tokens.*got {budget}$"):
            tiny.generate(model, inputs, processor, max_new_tokens=MOST)
    with pytest.raises(fm.InputError, match=rf"{needed} tokens.*got {needed - 1}$"):
        ConstraintLogitsProcessor([None, con], max_new_tokens=needed - 1)(
            torch.tensor([[1], [1]]), torch.zeros(2, tiny.WIDTH)
        )


def test_a_vocabulary_that_cannot_spell_the_answer(bpe):
    tokens = [None if token and b"!" in token else token for token in bpe.tokens]
    con = fm.Constraint.from_regex("a+!", fm.Vocabulary(tokens, bpe.eos, size=tiny.WIDTH))
    with pytest.raises(fm.InputError, match="cannot spell"):
        ConstraintLogitsProcessor(con, max_new_tokens=50)(torch.tensor([[1]]), torch.zeros(1, tiny.WIDTH))


def test_a_budget_that_began_too_late(endless):
    """Where nothing can be completed any more, what the constraint allows still may come."""
    con = endless["words"]
    processor = ConstraintLogitsProcessor(con, prompt_length=1, max_new_tokens=least(con))
    ids = [9, con.vocabulary.tokens.index(b"{"), con.vocabulary.tokens.index(b" ")]
    state = con.walk([ids[1:]])[0, -1]
    assert con.distance(int(state)) > least(con) - 2
    masked = processor(torch.tensor([ids]), torch.zeros(1, tiny.WIDTH))
    assert torch.equal(masked[0].isfinite(), torch.from_numpy(con.allowed(int(state))))


# ---- behind a trigger --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["token", "text"])
@pytest.mark.parametrize("options", [{"do_sample": True, "num_return_sequences": 4}, {"num_beams": 4}], ids=str)
def test_a_thought_ends_in_time_for_its_answer(start, options, model, inputs, endless, bpe):
    con, trigger = endless["words"], bpe.tokens.index(b";")
    later = fm.after(trigger) if start == "token" else "so;"
    waiting = con if start == "token" else con.after("so;")
    needed = least(waiting) + (start == "token")
    thought = 0
    for budget in [needed, needed + 1, needed + 2, *range(needed + 3, MOST, 7)]:
        processor = ConstraintLogitsProcessor(con, start=later, max_new_tokens=budget)
        generated = tiny.generate(model, inputs, processor, seed=budget, max_new_tokens=budget, **options)
        for row in generated.tolist():
            if start == "token":
                before, behind = row[: row.index(trigger)], tiny.bytes_of(row[row.index(trigger) + 1 :], con.vocabulary)
            else:
                before, _, behind = tiny.bytes_of(row, con.vocabulary).partition(b"so;")
            thought += bool(before)
            assert are_words(behind.decode())
    assert thought > 5
    processor = ConstraintLogitsProcessor(con, start=later, max_new_tokens=needed - 1)
    with pytest.raises(fm.InputError, match=rf"{needed} tokens.*got {needed - 1}$"):
        tiny.generate(model, inputs, processor, max_new_tokens=MOST)
