"""A constraint for each prompt of a batch, and none for some."""

from __future__ import annotations

import re

import pytest

import fastmask as fm
from tests.hf import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fastmask.hf import ConstraintLogitsProcessor  # noqa: E402

WAYS = {
    "greedy": {"do_sample": False},
    "several samples": {"do_sample": True, "num_return_sequences": 3},
    "beams": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
    "beam sampling": {"do_sample": True, "num_beams": 3, "num_return_sequences": 3},
}
ways = pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)


def is_word(text: str) -> bool:
    return re.fullmatch("[xyz]{2,5}", text) is not None


@pytest.fixture(scope="module")
def word(vocabulary):
    return fm.Constraint.from_regex("[xyz]{2,5}", vocabulary)


@ways
def test_each_prompt_has_its_own(options, model, inputs, con, word, tokenizer):
    processor = ConstraintLogitsProcessor([con, word, con])
    generated = tiny.generate(model, inputs, processor, **options)
    samples = options.get("num_return_sequences", 1)
    answers, words = generated.view(3, samples, -1)[[0, 2]].flatten(0, 1), generated.view(3, samples, -1)[1]
    assert tiny.assert_valid(answers, con, tokenizer) >= 1
    assert tiny.assert_valid(words, word, tokenizer, is_word) == samples


def test_all_are_of_one_vocabulary(con, tokenizer):
    """Equal ones, made one by one, are one."""
    again = fm.Constraint.from_regex("a", fm.Vocabulary.from_tokenizer(tokenizer, size=tiny.WIDTH))
    ConstraintLogitsProcessor([con, None, again])
    other = fm.Constraint.from_regex("a", fm.Vocabulary.from_tokenizer(tokenizer, size=tiny.WIDTH + 1))
    with pytest.raises(fm.InputError, match=r"different vocabularies, .*size=640.* and .*size=641.*: make them all"):
        ConstraintLogitsProcessor([con, None, other])


@ways
@pytest.mark.parametrize("alone", [0, 1, 2])
def test_a_row_without_is_what_it_would_be(options, alone, model, inputs, con, word):
    """Bit for bit: its scores at each step are those of the same ids without a processor."""
    free = Recorder()
    constraints = [con, word, con]
    constraints[alone] = None
    recorded = Recorder()
    processors = [free, ConstraintLogitsProcessor(constraints), recorded]
    tiny.generate(model, inputs, *processors, max_new_tokens=20, **options)
    of_prompt = slice(*(torch.tensor([alone, alone + 1]) * (len(free.scores[0]) // 3)).tolist())
    for before, after in zip(free.scores, recorded.scores, strict=True):
        assert torch.equal(before[of_prompt], after[of_prompt])
        assert not torch.equal(before, after)


class Recorder(transformers.LogitsProcessor):
    """Keeps all scores that pass."""

    def __init__(self):
        self.scores = []

    def __call__(self, input_ids, scores):
        self.scores.append(scores.clone())
        return scores


@pytest.mark.parametrize("options", [{"do_sample": False}, {"do_sample": False, "num_beams": 3}])
def test_a_free_row_s_answer_is_the_model_s_own(options, model, inputs, con):
    processor = ConstraintLogitsProcessor([con, None, con])
    mixed = tiny.generate(model, inputs, processor, max_new_tokens=30, **options)
    free = tiny.generate(model, inputs, max_new_tokens=30, **options)
    assert torch.equal(mixed[1], free[1])
    assert not torch.equal(mixed[0], free[0])


def test_equal_constraints_share_their_rows(con, word):
    """Whatever the order in which they come; each row keeps to its own."""
    constraints = [word, con, None, con, word, None]
    processor = ConstraintLogitsProcessor(constraints)
    states = torch.full((6,), con.initial_state)
    ids = torch.full((6, 2), 9)
    draw = torch.Generator().manual_seed(0)
    for _ in range(12):
        scores = torch.randn(6, tiny.WIDTH, generator=draw)
        masked = processor(ids, scores)
        for row, constraint in enumerate(constraints):
            allowed = constraint.allowed(states[row]) if constraint else torch.ones(tiny.WIDTH, dtype=torch.bool)
            assert torch.equal(masked[row], scores[row].masked_fill(~allowed, -torch.inf))
        chosen = masked.argmax(-1)
        for row, constraint in enumerate(constraints):
            states[row] = constraint.advance(states[row], chosen[row]) if constraint else states[row]
        ids = torch.cat([ids, chosen[:, None]], dim=1)


@pytest.mark.parametrize("count", [2, 4, 6])
def test_another_number_of_prompts_is_refused(model, inputs, con, count):
    """But for one, whose three rows might be samples."""
    processor = ConstraintLogitsProcessor([con] * count)
    with pytest.raises(fm.InputError, match=f"{count} constraints.*3 rows"):
        tiny.generate(model, inputs, processor, max_new_tokens=2)


def test_finished_by_row(model, inputs, con, word, tokenizer):
    """Words end in time, answers do not, and a free row misses nothing."""
    processor = ConstraintLogitsProcessor([con, word, None])
    torch.manual_seed(0)
    sequences = model.generate(
        **inputs, logits_processor=[processor], do_sample=True, num_return_sequences=2, max_new_tokens=7
    )
    with pytest.warns(fm.CutOffWarning, match="2 of 6"):
        assert processor.finished(sequences).tolist() == [False, False, True, True, True, True]
