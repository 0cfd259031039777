"""How answers end: at once with ``force_eos``, and whether they did, which ``finished`` tells."""

from __future__ import annotations

import re
import warnings

import pytest

import fastmask as fm
from tests.hf import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fastmask.hf import ConstraintLogitsProcessor  # noqa: E402

WAYS = {
    "greedy": {"do_sample": False},
    "several samples": {"do_sample": True, "num_return_sequences": 4},
    "beams": {"do_sample": False, "num_beams": 4, "num_return_sequences": 3},
}
ways = pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)


@pytest.fixture(scope="module")
def digits(vocabulary):
    return fm.Constraint.from_regex("[0-9]{1,5}", vocabulary)


# ---- force_eos ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_digit_tokens(bpe):
    """Tokens of several digits would finish at once too; the answer is one digit where there are none."""
    tokens = [None if token and len(token) > 1 and token.isdigit() else token for token in bpe.vocabulary.tokens]
    return fm.Vocabulary(tokens, bpe.eos, size=tiny.WIDTH)


@ways
def test_an_answer_that_may_end_does(options, model, inputs, one_digit_tokens, tokenizer):
    con = fm.Constraint.from_regex("[0-9]{1,5}", one_digit_tokens)
    generated = tiny.generate(model, inputs, ConstraintLogitsProcessor(con, force_eos=True), **options)
    assert all(re.fullmatch("[0-9]", text) for text in tiny.texts_of(generated, tokenizer))
    assert generated.shape[1] == 2
    assert (generated[:, 1] == con.vocabulary.eos_token_ids[0]).all()


def test_otherwise_it_need_not(model, inputs, digits, tokenizer):
    generated = tiny.generate(model, inputs, ConstraintLogitsProcessor(digits), do_sample=True)
    assert max(map(len, tiny.texts_of(generated, tokenizer))) > 1


def test_only_eos_behind_a_complete_text(digits):
    """Whole numbers are complete after each digit, an empty text is not."""
    processor = ConstraintLogitsProcessor(digits, prompt_length=1, force_eos=True)
    begin = processor(torch.tensor([[9]]), torch.zeros(1, tiny.WIDTH)).isfinite()[0]
    assert torch.equal(begin, torch.from_numpy(digits.allowed(digits.initial_state)))
    digit = digits.vocabulary.tokens.index(b"7")
    for ids in ([[9, digit]], [[9, digit, digit]]):
        masked = processor(torch.tensor(ids), torch.zeros(1, tiny.WIDTH))
        assert masked.isfinite().nonzero().tolist() == [[0, digits.vocabulary.eos_token_ids[0]]]


@ways
def test_an_answer_whose_end_is_fixed_is_none_the_worse(options, model, inputs, con, tokenizer):
    forced = tiny.generate(model, inputs, ConstraintLogitsProcessor(con, force_eos=True), **options)
    free = tiny.generate(model, inputs, ConstraintLogitsProcessor(con), **options)
    assert torch.equal(forced, free)
    assert tiny.assert_valid(forced, con, tokenizer) >= 2


# ---- finished ----------------------------------------------------------------------------------------------------


PAD = 9  # not EOS, and text elsewhere


def sequences_of(model, inputs, processor, **options) -> torch.Tensor:
    torch.manual_seed(options.pop("seed", 0))
    return model.generate(**inputs, logits_processor=[processor], pad_token_id=PAD, **options)


@ways
@pytest.mark.parametrize("tokens", [12, 20, 30, 90])
def test_finished_rows_are_those_that_parse(options, tokens, model, inputs, con, tokenizer):
    processor = ConstraintLogitsProcessor(con)
    sequences = sequences_of(model, inputs, processor, max_new_tokens=tokens, **options)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        finished = processor.finished(sequences)
    expected = [parses(row, con, tokenizer) for row in sequences[:, inputs["input_ids"].shape[1] :]]
    assert finished.tolist() == expected
    missing = expected.count(False)
    messages = [str(warning.message) for warning in said if warning.category is fm.CutOffWarning]
    assert [f"{missing} of {len(expected)} answers" in message for message in messages] == [True] * bool(missing)
    assert all(warning.filename == __file__ for warning in said)


def parses(row, con, tokenizer) -> bool:
    """Up to EOS, told without fastmask."""
    ids = row.tolist()
    eos = con.vocabulary.eos_token_ids[0]
    text = tokenizer.decode(ids[: ids.index(eos)] if eos in ids else ids)
    try:
        return tiny.is_answer(text)
    except ValueError:
        return False


def test_the_cases_above_are_of_both_kinds(model, inputs, con):
    """Some are cut off and some are padded behind their end."""
    processor = ConstraintLogitsProcessor(con)
    sequences = sequences_of(model, inputs, processor, max_new_tokens=20, do_sample=True, num_return_sequences=4)
    with pytest.warns(fm.CutOffWarning, match="raise max_new_tokens"):
        finished = processor.finished(sequences)
    assert 0 < finished.sum() < len(finished)
    assert (sequences[:, -1] == PAD).any()


@pytest.mark.parametrize("seed", range(3))
def test_a_text_that_ends_without_eos_is_whole(seed, model, inputs, digits):
    processor = ConstraintLogitsProcessor(digits)
    sequences = sequences_of(model, inputs, processor, seed=seed, max_new_tokens=1, do_sample=True)
    assert processor.finished(sequences).all()


def test_finished_with_a_given_prompt_length(model, inputs, con):
    """Needs no memory: another process may ask."""
    length = inputs["input_ids"].shape[1]
    sequences = sequences_of(model, inputs, ConstraintLogitsProcessor(con), max_new_tokens=90, do_sample=True)
    assert ConstraintLogitsProcessor(con, prompt_length=length).finished(sequences).all()


def test_finished_of_each_of_several_generations(model, inputs, con):
    processor = ConstraintLogitsProcessor(con)
    batches = [{name: value[rows] for name, value in inputs.items()} for rows in (slice(2), slice(2, 3))]
    batches[1] = {"input_ids": batches[1]["input_ids"][:, 1:]}
    done = [sequences_of(model, batch, processor, max_new_tokens=90, do_sample=True) for batch in batches]
    for sequences in reversed(done):
        assert processor.finished(sequences).all()


def test_finished_for_an_encoder_decoder(bpe, inputs, con):
    processor = ConstraintLogitsProcessor(con)
    sequences = sequences_of(tiny.t5(bpe.eos), inputs, processor, max_new_tokens=90, num_beams=2)
    assert processor.finished(sequences).all()


def test_all_that_generate_can_return(model, inputs, con):
    processor = ConstraintLogitsProcessor(con)
    output = sequences_of(model, inputs, processor, max_new_tokens=90, return_dict_in_generate=True)
    assert processor.answers(output) == processor.answers(output.sequences)
    assert torch.equal(processor.finished(output), processor.finished(output.sequences))


@pytest.mark.parametrize("method", ["finished", "answers"])
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("abc", fm.InputTypeError, "as a tensor, got str"),
        ([[1, 2]], fm.InputTypeError, "as a tensor, got list"),
        (torch.tensor([1, 2]), fm.InputError, r"ids \[B, T\].*got shape \(2,\)"),
        (torch.tensor([[1, 2]]), fm.InputError, "this processor has seen; give {}"),
    ],
    ids=str,
)
def test_what_generate_does_not_return(con, method, given, error, message):
    """The message names the method that was called."""
    with pytest.raises(error, match=message.format(method)) as caught:
        getattr(ConstraintLogitsProcessor(con), method)(given)
    assert f"{method}()" in str(caught.value)


def test_what_was_not_generated_here_is_refused(model, inputs, con):
    processor = ConstraintLogitsProcessor(con)
    with pytest.raises(fm.InputError, match="prompts of a generation"):
        processor.finished(inputs["input_ids"])
    sequences = sequences_of(model, inputs, processor, max_new_tokens=90, do_sample=True)
    for other in (sequences[:, 1:], sequences[:, inputs["input_ids"].shape[1] :], sequences + 1):
        with pytest.raises(fm.InputError, match="prompts of a generation"):
            processor.finished(other)
