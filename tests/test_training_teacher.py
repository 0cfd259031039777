"""Teachers of several architectures, made on the spot: their vocabularies, their sizes, how sloppy they become."""

import hashlib
import json
import random
from functools import partial

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("conllu")

import transformers
from tokenizers import SentencePieceBPETokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import fastmask as fm
from tests.training_kit import BYTES, EOS, one_thread, tiny, treebank
from training import distil, finetune, prepare, teacher
from training.data.examples import prompt_of
from training.data.sloppy import sloppy_answer
from training.data.tokenizer import load_tokenizer, require_same_tokens, train_bpe
from training.data.treebank import read_treebank
from training.errors import TrainingError
from training.learning.models import load_model, logit_width, tiny_gpt2, widen
from training.run import open_run
from training.schema import AnnotatedSentence, answer, to_json

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
GROUPED = SIZES | {"num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 256}
ARCHITECTURES = {
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256},
    "Llama": GROUPED,
    "Gemma2": GROUPED,
    "Qwen2": GROUPED,
}


def made(kind, vocab_size, seed=0, **changes):
    """A tiny model with fresh weights."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(
        **ARCHITECTURES[kind] | {"vocab_size": vocab_size, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None},
        **changes,
    )
    return AutoModelForCausalLM.from_config(config).eval()


def byte_level(records):
    bpe = train_bpe([text for record in records for text in (record.text, record.answer)], size=300)
    return PreTrainedTokenizerFast(tokenizer_object=bpe.backend_tokenizer, eos_token=bpe.eos_token)


def sentence_piece(records):
    bpe = SentencePieceBPETokenizer()
    characters = sorted({character for record in records for character in record.answer})
    bpe.train_from_iterator(
        [record.text for record in records], vocab_size=120, special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=characters, show_progress=False,
    )  # fmt: skip
    bpe.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture(scope="module")
def records(treebank):
    return [sentence.record for sentence in read_treebank([treebank])]


@pytest.fixture(scope="module")
def pretrained(records, tmp_path_factory):
    """A folder as the hub has them: a model and its tokenizer, which has no token for padding."""

    def make(kind, tokenizer=byte_level, wider=0, **changes):
        own = tokenizer(records)
        assert own.pad_token is None
        folder = tmp_path_factory.mktemp(kind)
        made(kind, len(own) + wider, **changes).save_pretrained(folder)
        own.save_pretrained(folder)
        return str(folder)

    return make


# --- embeddings and logits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("tied", [False, True])
def test_new_tokens_hardly_change_what_a_model_says(kind, tied, tmp_path):
    model = made(kind, 50, tie_word_embeddings=tied)
    ids = torch.arange(2, 40)[None]
    with torch.no_grad():
        before = model(ids).logits[0]
        after = widen(model, 53)(ids).logits[0]
    torch.testing.assert_close(after[:, :50], before)
    capped = model.config.final_logit_softcapping if kind == "Gemma2" else None
    raw = capped * torch.atanh(before / capped) if capped else before
    mean = raw.mean(-1, keepdim=True)
    torch.testing.assert_close(after[:, 50:], (capped * torch.tanh(mean / capped) if capped else mean).expand(-1, 3))
    assert (after.softmax(-1)[:, 50:] <= 1 / 50 + 1e-6).all()
    inputs = model.get_input_embeddings().weight
    torch.testing.assert_close(inputs[50:], inputs[:50].mean(0).expand(3, -1))
    assert logit_width(model.config) == 53
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(load_model(str(tmp_path))(ids).logits[0], after)


def test_soft_capping_is_left_alone(tmp_path):
    """Weights so large that logits would be far beyond the cap."""
    model = made("Gemma2", 50, final_logit_softcapping=5.0, tie_word_embeddings=False)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1e3)
    model.save_pretrained(tmp_path)
    loaded = widen(load_model(str(tmp_path)), 52)
    assert loaded.config._attn_implementation == "eager"  # scaled_dot_product_attention would not cap the attention
    ids = torch.arange(40)[None]
    with torch.no_grad():
        logits = loaded(ids).logits
        loaded.config.final_logit_softcapping = None
        uncapped = loaded(ids).logits
    assert logits.abs().max() <= 5
    assert uncapped.abs().max() > 50
    torch.testing.assert_close(logits, 5 * torch.tanh(uncapped / 5))


# --- any model as a teacher ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GPT2", {}),
        ("Llama", {"tokenizer": sentence_piece}),
        ("Gemma2", {"tokenizer": sentence_piece}),
        ("Qwen2", {"wider": 20}),
    ],
)
def test_any_architecture_is_fine_tuned(kind, options, pretrained, treebank, tmp_path):
    name = pretrained(kind, **options)
    own = load_model(name).config.vocab_size
    run = prepare.prepare(tmp_path, treebank=[treebank], teacher=name, max_length=200)
    assert run.tokenizer.pad_token_id == (run.tokenizer.eos_token_id if kind == "Qwen2" else own)  # Qwen's has one
    assert run.vocab.size == own + (kind != "Qwen2")
    assert run.vocab.tokens[run.tokenizer.pad_token_id] is None
    begins_with_bos = options.get("tokenizer") is sentence_piece
    assert (prompt_of("x", "tea", run.tokenizer).tokens[0] == run.tokenizer.bos_token_id) == begins_with_bos

    teacher.main(tmp_path, model=name, steps=6, learning_rate=1e-2, dtype="float32")
    numbers = run.numbers()["models"]["teacher"]
    assert numbers["title"].endswith("(sloppy)")
    losses = [look["loss"] for look in numbers["history"]]
    assert losses[-1] < losses[0]
    kept = AutoModelForCausalLM.from_pretrained(tmp_path / "teacher")
    assert kept.config.model_type == kind.lower()
    assert kept.get_output_embeddings().weight.shape[0] == kept.config.vocab_size == run.vocab.size
    assert AutoTokenizer.from_pretrained(tmp_path / "teacher").pad_token == run.tokenizer.pad_token
    distil.main(tmp_path, steps=1, layers=1, width=32)
    distil.main(tmp_path, steps=1, student=name, name="same-size")
    assert open_run(tmp_path).load("same-size").config.vocab_size == run.vocab.size


def test_dtype_and_device_map_are_honoured(pretrained, treebank, tmp_path):
    name = pretrained("Llama")
    prepare.prepare(tmp_path, treebank=[treebank], teacher=name)
    teacher.main(tmp_path, model=name, steps=2, dtype="bf16", device_map="auto")
    kept = open_run(tmp_path).load("teacher")
    assert {weight.dtype for weight in kept.parameters()} == {torch.bfloat16}
    assert load_model(name, dtype="float64").dtype == torch.float64
    assert load_model(name, device_map={"": "meta"}).device.type == "meta"
    with pytest.raises(TrainingError, match="no dtype of a model: 'int8'; expected auto, bfloat16"):
        load_model(name, dtype="int8")
    with pytest.raises(TrainingError, match=r"no causal language model can be loaded from .*device"):
        load_model(name, device_map="nowhere")


def test_sizes_of_models_from_scratch(treebank, tmp_path):
    run = prepare.prepare(tmp_path, treebank=[treebank])
    teacher.main(tmp_path, steps=1, layers=3, width=64)
    distil.main(tmp_path, steps=1, layers=1, width=32)
    finetune.main(tmp_path, steps=1, fresh=True, layers=1, width=96)
    configs = [run.load(name).config for name in ("teacher", "student", "finetuned")]
    sizes = [(config.n_layer, config.n_embd, config.n_head) for config in configs]
    assert sizes == [(3, 64, 2), (1, 32, 1), (1, 96, 3)]
    for sizes in ({"layers": 0, "width": 32}, {"layers": 1, "width": 48}, {"layers": 1, "width": 0}):
        with pytest.raises(TrainingError, match="--width must be a multiple of that; got"):
            tiny_gpt2(**sizes, vocab_size=257, context=8, eos=EOS, seed=0)


def test_a_model_by_name_has_sizes_of_its_own(treebank, tmp_path):
    prepare.prepare(tmp_path, treebank=[treebank])
    teacher.main(tmp_path, steps=1, layers=1, width=32)
    for stage in (
        partial(teacher.main, model="teacher", layers=1),
        partial(distil.main, student="teacher", width=32),
        partial(finetune.main, start="teacher", layers=2, width=64),
    ):
        with pytest.raises(TrainingError, match="'teacher' has sizes of its own"):
            stage(tmp_path, steps=1)


# --- models that do not fit ----------------------------------------------------------------------------------------


def test_another_tokenizer_of_the_same_width_is_found(pretrained, records, treebank, tmp_path):
    name = pretrained("GPT2")
    run = prepare.prepare(tmp_path / "run", treebank=[treebank], teacher=name)
    other = train_bpe([record.text[::-1] for record in records], size=299)
    made("GPT2", run.vocab.size).save_pretrained(tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    assert logit_width(load_model(str(tmp_path / "other")).config) == run.vocab.size
    for use in (
        lambda: teacher.main(run.folder, model=str(tmp_path / "other"), steps=1),
        lambda: distil.main(run.folder, student=str(tmp_path / "other"), teacher=name, steps=1),
        lambda: distil.main(run.folder, teacher=str(tmp_path / "other"), steps=1),
        lambda: prepare.prepare(tmp_path / "2", treebank=[treebank], teacher=name, tokenizer=str(tmp_path / "other")),
    ):
        with pytest.raises(TrainingError, match=r"has another tokenizer than the run: token \d+ is b'.+' there and b'"):
            use()
    assert list(run.numbers()["models"]) == []


def test_a_model_without_a_tokenizer_is_trusted_up_to_its_width(treebank, tmp_path, capsys):
    run = prepare.prepare(tmp_path / "run", treebank=[treebank])
    made("GPT2", run.vocab.size).save_pretrained(tmp_path / "bare")
    assert run.load(str(tmp_path / "bare")).config.vocab_size == run.vocab.size
    assert "comes without a tokenizer" in " ".join(capsys.readouterr().out.split())
    made("GPT2", run.vocab.size - 1).save_pretrained(tmp_path / "narrow")  # the run's last token is text
    with pytest.raises(TrainingError, match=rf"the student's logits are {run.vocab.size - 1} wide"):
        distil.main(run.folder, student=str(tmp_path / "narrow"), teacher=str(tmp_path / "bare"), steps=1)
    with pytest.raises(TrainingError, match=r"there is no tokenizer_config\.json"):
        prepare.prepare(tmp_path / "other", treebank=[treebank], teacher=str(tmp_path / "bare"))
    with pytest.raises(TrainingError, match="the teacher reads 256 tokens and examples may have 512"):
        teacher.main(run.folder, model=str(tmp_path / "bare"), steps=1)


def test_special_tokens_are_no_text_whatever_their_names(tmp_path):
    ours, theirs = (train_bpe(["tea"], size=258) for _ in range(2))
    theirs.add_special_tokens({"additional_special_tokens": ["<start>"]})
    theirs.save_pretrained(tmp_path)
    vocab = fm.Vocabulary.from_tokenizer(ours, size=300)
    require_same_tokens(str(tmp_path), vocab)
    theirs.add_tokens(["teapot"])
    theirs.save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match=f"token {len(theirs) - 1} is b'teapot' there and no text here"):
        require_same_tokens(str(tmp_path), vocab)


# --- sloppiness ----------------------------------------------------------------------------------------------------


def test_the_default_draws_what_it_always_drew():
    """The figures in README were measured with these answers."""
    records = [s.record for s in read_treebank([prepare.OWN_TREEBANK / "train.conllu"])]
    rng = random.Random(0)
    answers = [sloppy_answer(record.answer, teacher.SLOPPINESS, rng) for record in records for _ in range(4)]
    assert answers[0].endswith('{"text":"shelf","pos":"NOUN"},{"text":".","type":"PUNCT"},]}')
    digest = hashlib.sha256("\n".join(answers).encode()).hexdigest()
    assert digest == "7000006ac28143562dc7ca94ac56f82fac81ca76e43a81a0857b75d065052035"


def test_sloppiness_is_the_share_of_entries_with_a_slip():
    words, rng = [("tea", "NOUN")] * 5_000, random.Random(1)
    right = answer(words[:1])[len('{"tokens":[') : -len("]}")]
    assert sloppy_answer(answer(words), 0, rng) == answer(words)
    for share in (0.1, 0.4, 1.0):
        slips = len(words) - sloppy_answer(answer(words), share, rng).count(right)
        assert slips / len(words) == pytest.approx(share, abs=0.03)
    con = fm.Constraint.from_schema(AnnotatedSentence, BYTES)
    certain = [sloppy_answer(answer(words[:1]), 1, rng) for _ in range(50)]
    assert not con.check([[*text.encode(), EOS] for text in certain]).complete.any()


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ({"a": 1, "b": True}, 3 + 3 + 1 + 3),  # names of either key, the value, colons
        (["x", "y"], 1),  # the last comma
        ({"o": {"k": "v"}, "l": [{"z": None}], "e": [], "f": {}}, (3 + 1 + 3) * (3 + 1 + 3)),
    ],
)
def test_answers_to_any_task_can_be_sloppy(value, number):
    rng, right = random.Random(2), to_json(value)
    several = {sloppy_answer(right, 1, rng) for _ in range(2_000)}
    assert right not in several
    assert len(several) == number
    assert sloppy_answer(right, 0, rng) == right


@pytest.mark.parametrize("right", ["3", '"NOUN"', "null", "{}", "[]", "[[]]"])
def test_what_has_no_entries_has_no_slips(right):
    assert sloppy_answer(right, 1, random.Random(0)) in (right, "[[],]")


def test_a_clean_teacher_learns_the_right_answers(treebank, tmp_path):
    run = prepare.prepare(tmp_path, treebank=[treebank])
    assert teacher.sloppy_examples(run, 0) == run.train
    assert len(teacher.sloppy_examples(run, 0.4)) == teacher.SLOPPY_COPIES * len(run.train)
    teacher.main(tmp_path, steps=1, sloppiness=0)
    assert run.numbers()["models"]["teacher"]["title"] == "teacher (clean)"
    for sloppiness in (-0.1, 1.1, float("nan")):
        with pytest.raises(TrainingError, match="from 0 to 1, got"):
            teacher.train_teacher(run, sloppiness=sloppiness, steps=1)
