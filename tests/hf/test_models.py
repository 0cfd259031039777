"""Every kind of model and of input that ``generate`` takes, and the vocabulary that fits a model."""

from __future__ import annotations

import copy

import pytest

import fastmask as fm
from tests.hf import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fastmask.hf import ConstraintLogitsProcessor, vocabulary_for  # noqa: E402

DECODINGS = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
}
decodings = pytest.mark.parametrize("options", DECODINGS.values(), ids=DECODINGS)


def assert_answers(model, inputs, con, tokenizer, **options) -> torch.Tensor:
    """Nearly all answers are finished and right, twice in a row with one processor; returns the first ids."""
    processor = ConstraintLogitsProcessor(con)
    batches = [tiny.generate(model, inputs, processor, seed=seed, **options) for seed in range(2)]
    finished = sum(tiny.assert_valid(generated, con, tokenizer) for generated in batches)
    assert finished >= 0.75 * sum(map(len, batches))
    return batches[0]


@pytest.mark.parametrize("make", [tiny.t5, tiny.bart])
@decodings
def test_encoder_decoders(make, options, bpe, inputs, con, tokenizer):
    assert_answers(make(bpe.eos), inputs, con, tokenizer, **options)


@pytest.mark.parametrize("make", [tiny.t5, tiny.bart])
def test_an_encoder_decoder_behind_tokens_of_the_answer_s_own_prompt(make, bpe, inputs, con, tokenizer):
    """Decoder ids that were given are a prompt like any other."""
    begun = torch.tensor([[bpe.eos, 7, 8]] * 3)
    generated = tiny.generate(
        make(bpe.eos), inputs | {"decoder_input_ids": begun}, ConstraintLogitsProcessor(con), do_sample=True
    )
    assert torch.equal(generated[:, :2], begun[:, 1:])
    assert tiny.assert_valid(generated[:, 2:], con, tokenizer) >= 2


@decodings
@pytest.mark.parametrize("tokens", [12, tiny.TOKENS])
def test_an_encoder_decoder_that_is_told_how_to_begin_and_end(options, tokens, bpe, inputs, con, tokenizer):
    """As BART's own configurations tell it, against what the constraint allows, which prevails."""
    told = {"forced_bos_token_id": 7, "forced_eos_token_id": bpe.eos, "max_new_tokens": tokens}
    generated = tiny.generate(tiny.bart(bpe.eos), inputs, ConstraintLogitsProcessor(con), **told, **options)
    finished = tiny.assert_valid(generated, con, tokenizer)
    assert finished == 0 if tokens == 12 else finished >= 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@decodings
def test_half_precision(dtype, options, bpe, inputs, con, tokenizer):
    model = tiny.gpt2(bpe.eos).to(dtype)
    assert model(**inputs).logits.dtype == dtype
    assert_answers(model, inputs, con, tokenizer, **options)


@decodings
def test_rotary_positions(options, bpe, inputs, con, tokenizer):
    assert_answers(tiny.llama(bpe.eos), inputs, con, tokenizer, **options)


def test_a_static_cache(bpe, inputs, con, tokenizer):
    model = tiny.llama(bpe.eos)
    plain = assert_answers(model, inputs, con, tokenizer, do_sample=True)
    static = assert_answers(model, inputs, con, tokenizer, do_sample=True, cache_implementation="static")
    assert torch.equal(static, plain)


def test_a_compiled_model(bpe, inputs, con, tokenizer):
    model = tiny.llama(bpe.eos)
    plain = assert_answers(model, inputs, con, tokenizer, do_sample=True)
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    model.forward = torch.compile(model.forward, backend=backend)
    compiled = assert_answers(model, inputs, con, tokenizer, do_sample=True)
    assert graphs, "nothing was compiled"
    assert torch.equal(compiled, plain)


@decodings
def test_prompts_as_embeddings(options, model, inputs, con, tokenizer):
    """Without ids there is no prompt, with them they are one: the answer is the same."""
    embedded = {"inputs_embeds": model.get_input_embeddings()(inputs["input_ids"])}
    embedded["attention_mask"] = inputs["attention_mask"]
    without = assert_answers(model, embedded, con, tokenizer, **options)
    with_ids = assert_answers(model, embedded | {"input_ids": inputs["input_ids"]}, con, tokenizer, **options)
    assert torch.equal(with_ids, without)


def test_prompts_padded_on_the_right(model, con, tokenizer):
    """The model makes less of them, and transformers says so; the constraint does not mind."""
    encoded = tokenizer(tiny.PROMPTS, return_tensors="pt", padding=True, padding_side="right")
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    assert (inputs["attention_mask"][:, -1] == 0).any()
    assert_answers(model, inputs, con, tokenizer, do_sample=True)


def test_a_left_padded_row_is_generated_as_it_would_be_alone(model, inputs, con, tokenizer):
    processor = ConstraintLogitsProcessor(con)
    together = tiny.generate(model, inputs, processor, do_sample=False, max_new_tokens=30)
    for row, prompt in zip(together, tiny.PROMPTS, strict=True):
        alone = {"input_ids": tokenizer(prompt, return_tensors="pt")["input_ids"]}
        (expected,) = tiny.generate(model, alone, processor, do_sample=False, max_new_tokens=30)
        assert torch.equal(row[: len(expected)], expected)


# ---- the vocabulary that fits a model ----------------------------------------------------------------------------


@pytest.fixture
def ends(vocabulary):
    """Several ids that a model ends on: the tokenizer's own, an ordinary token, a column beyond the tokenizer."""
    ordinary = vocabulary.tokens.index(b"!")
    return [vocabulary.eos_token_ids[0], ordinary, 620]


@pytest.fixture
def chat_model(bpe, ends):
    model = tiny.gpt2(bpe.eos)
    model.generation_config.eos_token_id = ends
    return model


def test_a_vocabulary_is_as_wide_as_the_logits(model, tokenizer, vocabulary):
    assert vocabulary_for(model, tokenizer) == vocabulary
    assert model(torch.tensor([[1]])).logits.shape[-1] == vocabulary.size > len(tokenizer)


@pytest.mark.parametrize("make", [tiny.llama, tiny.t5, tiny.bart])
def test_a_vocabulary_for_other_models(make, bpe, vocabulary):
    assert vocabulary_for(make(bpe.eos), bpe.tokenizer) == vocabulary


def test_a_vocabulary_for_a_model_that_was_resized(bpe):
    model = tiny.gpt2(bpe.eos)
    model.resize_token_embeddings(611)
    assert vocabulary_for(model, bpe.tokenizer).size == 611


def test_a_vocabulary_with_every_end_that_the_model_has(chat_model, tokenizer, ends):
    assert sorted(vocabulary_for(chat_model, tokenizer).eos_token_ids) == sorted(ends)


def test_an_end_that_only_the_tokenizer_names(bpe, tokenizer):
    model = tiny.gpt2(bpe.eos)
    model.generation_config.eos_token_id = None
    assert list(vocabulary_for(model, tokenizer).eos_token_ids) == [bpe.eos]


def test_no_end_anywhere(bpe, tokenizer):
    model = tiny.gpt2(bpe.eos)
    model.generation_config.eos_token_id = None
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(fm.VocabularyError, match="eos_token_id"):
        vocabulary_for(model, tokenizer)


def test_a_tokenizer_of_another_model(bpe, tokenizer):
    tokens = len(tokenizer)
    assert vocabulary_for(tiny.gpt2(bpe.eos, vocab_size=tokens), tokenizer).size == tokens
    model = tiny.gpt2(bpe.eos, vocab_size=tokens - 1)
    with pytest.raises(fm.VocabularyError, match=rf"{tokens} tokens.*{tokens - 1} columns.*resize_token_embeddings"):
        vocabulary_for(model, tokenizer)


def test_a_tokenizer_of_a_much_larger_model(bpe, tokenizer):
    tokens = len(tokenizer)
    with pytest.warns(fm.VocabularyWarning, match="is the tokenizer another model's"):
        vocabulary = vocabulary_for(tiny.gpt2(bpe.eos, vocab_size=tokens + 1025), tokenizer)
    assert vocabulary.size == tokens + 1025
    vocabulary_for(tiny.gpt2(bpe.eos, vocab_size=tokens + 1024), tokenizer)


@decodings
def test_a_model_that_ends_on_several_tokens(options, chat_model, inputs, tokenizer, ends):
    """Each of them ends answers, and none of them comes within one, although one of them is text elsewhere."""
    con = fm.Constraint.from_regex("[ab!]{0,3}", vocabulary_for(chat_model, tokenizer))
    processor = ConstraintLogitsProcessor(con)
    last = []
    for seed in range(6):
        generated = tiny.generate(chat_model, inputs, processor, seed=seed, **options)
        lengths = tiny.lengths_of(generated, con)
        assert tiny.assert_valid(generated, con, tokenizer, lambda text: True) == len(generated)
        last += generated[torch.arange(len(generated)), lengths - 1].tolist()
    assert set(last) & set(ends)
    if options["do_sample"]:
        assert set(last) >= set(ends)
