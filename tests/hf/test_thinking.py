"""A model that thinks first: the constraint begins behind a token or a text, and until then nothing ends."""

from __future__ import annotations

import json
import re

import pytest

import fastmask as fm
from fastmask.canonical import spelling
from tests.hf import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fastmask.hf import ConstraintLogitsProcessor  # noqa: E402

WAYS = {
    "greedy": {"do_sample": False},
    "several samples": {"do_sample": True, "num_return_sequences": 4},
    "beams": {"do_sample": False, "num_beams": 4, "num_return_sequences": 2},
}
ways = pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
TRIGGER = "fo"  # ends within the token " fox"
ANSWER = "x?[0-9]{1,3}!?"
FOND = 5.0  # added to the scores of what begins the answer: a model without an opinion would hardly ever


@pytest.fixture(scope="module")
def special(bpe):
    """A special token in a place of its own."""
    return len(bpe.tokens)


@pytest.fixture(scope="module")
def answers(bpe, special):
    vocabulary = fm.Vocabulary([*bpe.tokens, None], bpe.eos, size=tiny.WIDTH)
    assert vocabulary.tokens[special] is None
    return fm.Constraint.from_regex(ANSWER, vocabulary)


def split_at_token(row: list[int], trigger: int) -> tuple[list[int], list[int]] | None:
    """What stands before the first trigger, and behind it; told without fastmask."""
    return (row[: row.index(trigger)], row[row.index(trigger) + 1 :]) if trigger in row else None


@pytest.mark.parametrize("kind", ["special", "ordinary"])
@ways
def test_behind_a_token(options, kind, model, inputs, answers, special, bpe):
    trigger = special if kind == "special" else bpe.tokens.index(b";")
    processor = ConstraintLogitsProcessor(answers, start=fm.after(trigger))
    answered = thought = 0
    for seed in range(3):
        generated = tiny.generate(
            model, inputs, processor, seed=seed, sequence_bias={(trigger,): FOND}, max_new_tokens=40, **options
        )
        for row in generated.tolist():
            parts = split_at_token(row, trigger)
            if parts is None:
                assert bpe.eos not in row
                continue
            before, behind = parts
            assert bpe.eos not in before
            assert re.fullmatch(ANSWER, tiny.bytes_of(behind, answers.vocabulary).decode())
            answered += 1
            thought += bool(before)
    assert answered >= 3
    assert thought or not options["do_sample"]


@ways
def test_behind_a_text(options, model, inputs, answers, bpe):
    processor = ConstraintLogitsProcessor(answers, start=TRIGGER)
    fond = {(token,): FOND for token in (bpe.tokens.index(b"fo"), bpe.tokens.index(b" fox"))}
    answered, within = 0, 0
    for seed in range(3):
        generated = tiny.generate(model, inputs, processor, seed=seed, sequence_bias=fond, max_new_tokens=40, **options)
        for row in generated.tolist():
            before, found, behind = tiny.bytes_of(row, answers.vocabulary).partition(TRIGGER.encode())
            if not found:
                assert bpe.eos not in row
                continue
            assert re.fullmatch(ANSWER, behind.decode())
            assert len(tiny.bytes_of(row[: row.index(bpe.eos)], answers.vocabulary)) == len(before + found + behind)
            answered += 1
            within += behind.startswith(b"x")
    assert answered >= 3
    assert within, "no token ever held the end of the trigger and the beginning of the answer"


def test_only_tokens_that_go_on_as_they_may_hold_the_trigger_s_end(model, inputs, answers, bpe):
    """Without the ``x`` in the answer, " fox" may not come, nor may EOS; everything else may."""
    con = fm.Constraint.from_regex("[0-9]{1,3}", answers.vocabulary)
    masked = ConstraintLogitsProcessor(con, start=TRIGGER)(torch.tensor([[5]]), torch.zeros(1, tiny.WIDTH))
    forbidden = set((~masked[0].isfinite()).nonzero()[:, 0].tolist())
    assert {token for token in forbidden if token < len(answers.vocabulary.tokens)} >= {bpe.eos}
    broken = {i for i, token in enumerate(bpe.tokens) if token and re.search(rb"fo[^0-9]", token)}
    assert bpe.tokens.index(b" fox") in broken
    beyond = set(range(len(bpe.tokens) + 1, tiny.WIDTH))
    assert forbidden == broken | {bpe.eos} | beyond


@pytest.mark.parametrize("start", ["token", "text"])
def test_masks_before_the_answer(start, answers, special, bpe):
    """Whatever was thought, EOS may not come; at the trigger the answer's own mask begins."""
    given = fm.after(special) if start == "token" else "so"
    processor = ConstraintLogitsProcessor(answers, prompt_length=1, start=given)
    begins = [special] if start == "token" else [bpe.tokens.index(b"s"), bpe.tokens.index(b"o")]
    ids = [9, 5, 6, 7]
    for _ in range(3):
        masked = processor(torch.tensor([ids]), torch.zeros(1, tiny.WIDTH))
        assert masked[0, bpe.eos] == -torch.inf
        assert masked[0, 5:30].isfinite().all()
        ids.append(8)
    masked = processor(torch.tensor([ids + begins]), torch.zeros(1, tiny.WIDTH))
    assert torch.equal(masked[0].isfinite(), torch.from_numpy(answers.allowed(answers.initial_state)))


def test_finished_thinking(model, inputs, answers, special):
    """Neither a thought without an answer nor half an answer is finished."""
    length = inputs["input_ids"].shape[1]
    processor = ConstraintLogitsProcessor(answers, length, start=fm.after(special))
    digit, x = answers.vocabulary.tokens.index(b"7"), answers.vocabulary.tokens.index(b"x")
    generated = torch.tensor([[5, special, digit], [5, special, x], [5, digit, digit]])
    with pytest.warns(fm.CutOffWarning, match="2 of 3"):
        finished = processor.finished(torch.cat([inputs["input_ids"], generated], dim=1))
    assert finished.tolist() == [True, False, False]


@pytest.mark.parametrize("start", ["token", "text"])
def test_thinking_by_row(start, model, inputs, con, answers, special, bpe):
    """Each row waits for the same trigger and has an answer of its own."""
    later = fm.after(special) if start == "token" else TRIGGER
    words = fm.Constraint.from_regex("x?[ab]{2}", answers.vocabulary)
    processor = ConstraintLogitsProcessor([answers, words, None], start=later)
    fond = {(token,): FOND for token in ([special] if start == "token" else [bpe.tokens.index(b"fo")])}
    answered = 0
    for seed in range(4):
        generated = tiny.generate(
            model, inputs, processor, seed=seed, do_sample=True, sequence_bias=fond, max_new_tokens=40
        ).tolist()
        for row, form in zip(generated[:2], (ANSWER, "x?[ab]{2}"), strict=True):
            if start == "token":
                parts = split_at_token(row, special)
                behind = tiny.bytes_of(parts[1], answers.vocabulary) if parts else None
            else:
                _, found, rest = tiny.bytes_of(row, answers.vocabulary).partition(TRIGGER.encode())
                behind = rest if found else None
            if behind is not None:
                answered += bool(re.fullmatch(form, behind.decode()))
    assert answered >= 6


def test_tokens_are_kept_for_the_answer(model, inputs, con):
    """Thinking ends in time for an answer that is not the shortest, whichever way it is waited for."""
    room, shortest = 40, con.distance(con.initial_state)
    length = inputs["input_ids"].shape[1]
    for start in ("<answer>", fm.after(7)):
        processor = ConstraintLogitsProcessor(con, start=start, max_new_tokens=60, answer_tokens=room)
        torch.manual_seed(0)
        sequences = model.generate(**inputs, do_sample=True, max_new_tokens=60, logits_processor=[processor])
        assert processor.finished(sequences).all()
        for ids, answer in zip(sequences[:, length:].tolist(), processor.answers(sequences), strict=True):
            thought = ids.index(7) if isinstance(start, fm.After) else _tokens_until(ids, start.encode(), con)
            assert 60 - thought - 1 >= room > shortest
            assert json.loads(answer)
    with pytest.raises(fm.InputError, match=rf"{room + 50} with answer_tokens={room + 49}"):
        ConstraintLogitsProcessor(con, start=fm.after(7), max_new_tokens=60, answer_tokens=room + 49)(
            torch.tensor([[1]]), torch.zeros(1, con.vocab_size)
        )
    with pytest.raises(fm.InputError, match="give both"):
        ConstraintLogitsProcessor(con, answer_tokens=3)


def _tokens_until(ids: list[int], text: bytes, con) -> int:
    """How many tokens come before the one that completes the text."""
    return next(t for t in range(len(ids)) if text in spelling(ids[: t + 1], con.vocabulary))


def test_a_start_for_each_row(model, inputs, con):
    """One thinks up to a text, one up to a token, one not at all."""
    starts, length = ["<answer>", fm.after(7), None], inputs["input_ids"].shape[1]
    processor = ConstraintLogitsProcessor([con] * 3, start=starts, max_new_tokens=60)
    torch.manual_seed(0)
    sequences = model.generate(**inputs, do_sample=True, max_new_tokens=60, logits_processor=[processor])
    assert processor.finished(sequences).all()
    assert all(json.loads(answer) for answer in processor.answers(sequences))
    behind, token, at_once = sequences[:, length:]
    assert con.after("<answer>").check(behind[None]).first_error == -1
    assert con.check(token[None], start=fm.after(7)).first_error == -1
    assert con.check(at_once[None]).first_error == -1
    with pytest.raises(fm.InputError, match="3 constraints and 2 starts"):
        ConstraintLogitsProcessor([con] * 3, start=starts[:2])
