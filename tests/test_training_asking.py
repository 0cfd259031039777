"""How a teacher is asked: with an instruction before the sentence, from a cache, and from hidden states."""

import copy
import dataclasses
import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("conllu")

from transformers import AutoModelForCausalLM, BloomConfig, BloomForCausalLM, Gemma2Config, Gemma2ForCausalLM

import fastmask.torch as fmt
from tests.training_kit import (
    BYTES,
    EOS,
    ByteTokenizer,
    con,
    examples,
    losses_and_gradient,
    one_thread,
    tiny,
    treebank,
)
from training import distil, prepare
from training.data.examples import collate
from training.data.tokenizer import END
from training.distillation import teacher_cache
from training.distillation.asking import Asking
from training.distillation.chunked import Hidden, check_head
from training.distillation.instruction import Instruction, instruction_of
from training.errors import TrainingError
from training.learning.losses import Logits, Objective, answer_logits, distillation, format_loss, format_of, losses_from
from training.learning.model_digest import model_digest
from training.teacher import new_teacher, train_teacher

BOS = 255
OBJECTIVES = [
    Objective(penalty=3.0),
    Objective(float("inf"), cross_entropy=0.25, temperature=2.0),
    Objective(target_invalid_mass=0.01, jensen_shannon=0.4),
    Objective(penalty=2.0, reverse=True, temperature=0.5),
]
by_title = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.title)


class Tokenizer(ByteTokenizer):
    """Of bytes, with a BOS of its own and a chat template."""

    chat_template = "a template"

    def __call__(self, text, add_special_tokens):
        return type("Encoding", (), {"input_ids": [BOS] * add_special_tokens + list(text.encode())})

    def apply_chat_template(self, messages, add_generation_prompt, return_dict):
        assert add_generation_prompt
        assert not return_dict
        return [BOS, *b"<user>", *messages[0]["content"].encode(), *b"<model>"]


def gemma(seed=0, **changes):
    """Soft-capped where it makes its logits, so strongly that it matters."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": 257, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "sliding_window": 8}
    config = Gemma2Config(**sizes, **heads, final_logit_softcapping=0.5, initializer_range=0.3, **changes)
    return Gemma2ForCausalLM(config).eval()


def bloom(seed=0):
    """Which has no positions, and takes none."""
    torch.manual_seed(seed)
    return BloomForCausalLM(
        BloomConfig(vocab_size=257, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.3)
    ).eval()


def instruction(template="{schema}|{input}=", **changes):
    return Instruction(template, '{"a": 1}', Tokenizer(), BYTES, **changes)


def learnt(student, ask, con, objective, form=Logits):
    """A batch's losses, of a teacher that is asked so."""
    return lambda batch: losses_from(ask(batch), form.of(student, batch), batch, con, objective)


def running(master, asked=None, form=Logits):
    def ask(batch):
        with torch.no_grad():
            return form.of(master, asked.read(batch, master) if asked else batch)

    return ask


# --- an instruction that only the teacher reads --------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("make", [tiny, gemma, bloom])
def test_an_instructed_teacher_is_read_where_it_predicts_the_answer(make, chat, side, con, examples):
    """Against one example at a time, without padding, its prompt written out by hand."""
    master, batch = make(seed=2).eval(), collate(examples, con)
    expected = []
    for example, sentence in zip(examples, [b"ab", b"a longer one", b"", b"ok?"], strict=True):
        text = b'{"a": 1}|' + sentence + b"="
        prompt = [BOS, *b"<user>", *text, *b"<model>"] if chat else [BOS, *text]
        logits = master(torch.tensor([[*prompt, *example.answer]])).logits[0]
        expected += [logits[len(prompt) - 1 + i] for i in range(len(example.answer))]
    reading = instruction(chat=chat, padding_side=side).read(batch, master)
    found = answer_logits(master, reading)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-5)
    assert reading.inputs["input_ids"].roll(-1, dims=1)[reading.predicts].tolist() == batch.targets.tolist()
    assert not torch.allclose(found, answer_logits(master, batch), atol=1e-3)  # it does read something else


def test_fields_are_filled_and_other_braces_stay():
    assert instruction('{"tokens": []} {schema} {input} {x}').fill("{schema}") == '{"tokens": []} {"a": 1} {schema} {x}'


def test_prompts_that_cannot_be(con, examples):
    with pytest.raises(TrainingError, match=r"needs \{input\}.*'Tag this' is neither"):
        instruction("Tag this")
    plain = type("Plain", (Tokenizer,), {"chat_template": None})()
    with pytest.raises(TrainingError, match="no chat template"):
        Instruction("{input}", "", plain, BYTES, chat=True)
    asked, master = instruction("x" * 50 + "{input}"), tiny()  # 51 and the sentence, of a context of 64
    asked.require_room(((example, len(example.answer)) for example in (examples[0], examples[2])), master)
    with pytest.raises(TrainingError, match=r"example 1: a prompt of 63 tokens and an answer of 4 .* into the 64 that"):
        asked.require_room(((example, len(example.answer)) for example in examples), master)


@pytest.fixture(scope="module")
def run(treebank, tmp_path_factory):
    run = prepare.prepare(tmp_path_factory.mktemp("runs") / "run", treebank=[treebank])
    run.keep("teacher", tiny(**run.tiny_model_settings), title="teacher", history=[])
    return run


def test_an_instruction_that_says_what_the_student_reads(run):
    master, batch = run.load("teacher").eval(), collate(run.train[:5], run.con)
    same = instruction_of(run, "{input}" + END)
    assert same.read(batch, master).inputs["input_ids"].tolist() == batch.tokens.tolist()
    torch.testing.assert_close(answer_logits(master, same.read(batch, master)), answer_logits(master, batch))


def test_a_prompt_goes_through_the_tokenizer_s_chat_template(run):
    tokenizer = copy.deepcopy(run.tokenizer)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}" + (
        "{% if add_generation_prompt %}<model>{% endif %}"
    )
    asked = instruction_of(dataclasses.replace(run, tokenizer=tokenizer), "Tag {input}:", chat=True)
    example = run.train[0]
    said = run.tokenizer.decode(example.prompt, skip_special_tokens=True)
    read = asked.as_read(example)
    assert read.prompt == tokenizer(f"<user>Tag {said}:<model>", add_special_tokens=False).input_ids
    assert read.answer == example.answer


def test_a_prompt_is_a_text_or_a_file(run, tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text("Tag {input} as {schema}", encoding="utf-8")
    for given in (str(path), "Tag {input} as {schema}"):
        filled = instruction_of(run, given).fill("tea")
        assert filled.startswith("Tag tea as {")
        assert json.loads(filled[11:])["title"] == "AnnotatedSentence"
    assert instruction_of(run, None) is None
    with pytest.raises(TrainingError, match="give that, too"):
        instruction_of(run, None, chat=True)
    with pytest.raises(TrainingError, match="no chat template"):
        instruction_of(run, "{input}", chat=True)


def test_a_teacher_learns_behind_the_prompt_that_it_will_be_given(run):
    """Its loss after one step of no length is that of the answers behind the prompt, and it has room for both."""
    asked = instruction_of(run, "Tag this: {input}")
    master = new_teacher(run, layers=1, width=32, instruction=asked)
    longest = max(asked.as_read(example).start - example.start for example in run.train + run.heldout)
    assert master.config.n_positions == run.settings.max_length + longest
    expected = mean_loss(master, [asked.as_read(example) for example in run.some_heldout()], run)
    shorter = new_teacher(run, layers=1, width=32, instruction=instruction_of(run, "{input}"))  # without what ends it
    assert shorter.config.n_positions == run.settings.max_length
    train_teacher(run, master, name="told", sloppiness=0.0, steps=1, learning_rate=0.0, instruction=asked)
    told = run.numbers()["models"]["told"]
    assert told["prompt"] == "Tag this: {input}"
    assert told["history"][-1]["loss"] == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(mean_loss(master, run.some_heldout(), run), rel=1e-3)


def test_a_teacher_without_room_for_its_prompt_is_told_at_once(run):
    with pytest.raises(TrainingError, match="do not fit into"):
        train_teacher(run, tiny(**run.tiny_model_settings), instruction=instruction_of(run, "tea " * 500 + "{input}"))


@torch.no_grad()
def mean_loss(model, examples, run):
    """Cross-entropy of the answers' tokens, nats a token, one text after another."""
    losses = [
        model(torch.tensor([example.tokens])).logits[0, example.start - 1 : -1].log_softmax(-1)
        [range(len(example.answer)), example.answer]
        for example in examples
    ]  # fmt: skip
    return -torch.cat(losses).mean().item()


def test_a_prompt_that_does_not_fit_is_told_at_once(run):
    objective = Objective(rollouts="student", rollout_share=0.5)
    long = instruction_of(run, "{input} " + "tea " * 600)
    with pytest.raises(TrainingError, match=r"example \S+: a prompt of 6\d\d tokens and an answer of \d+ do not fit"):
        distil.distil(
            run, run.load("teacher"), tiny(**run.tiny_model_settings),
            name="never", objective=objective, steps=10**9, asking=Asking(long),
        )  # fmt: skip
    assert "never" not in run.numbers()["models"]


# --- a teacher that is asked once ----------------------------------------------------------------------------------


def no_teacher(master):
    """The same, but that it must not be run."""

    def refuse(*_, **__):
        raise AssertionError("the teacher was run")

    master = copy.deepcopy(master)
    master.forward = refuse
    return master


@by_title
@pytest.mark.parametrize("instructed", [False, True])
def test_a_cache_of_all_tokens_is_the_teacher(objective, instructed, con, examples, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_cache, "EXAMPLES_PER_SHARD", 3)
    student, master = tiny(seed=1).eval(), tiny(seed=2).eval()
    asked = instruction() if instructed else None
    options = {"top_k": 257, "temperature": objective.temperature, "instruction": asked}
    teacher_cache.teacher_cache(tmp_path, master, examples, con, **options)
    cache = teacher_cache.teacher_cache(tmp_path, no_teacher(master), examples, con, **options)
    batches = [collate([examples[3], examples[0]], con), collate([examples[1], examples[2]], con)]
    found = losses_and_gradient(student, learnt(student, cache.__getitem__, con, objective), batches)
    expected = losses_and_gradient(student, learnt(student, running(master, asked), con, objective), batches)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_cache_of_some_tokens_is_a_sparse_teacher(con, examples, tmp_path):
    student, master, objective = tiny(seed=1).eval(), tiny(seed=2).eval(), Objective(3.0)
    cache = teacher_cache.teacher_cache(tmp_path, master, examples, con, top_k=2)
    expected = []
    for example in examples:
        states = torch.from_numpy(con.walk(torch.tensor([example.tokens]).numpy(), start=[example.start]))[0]
        rows = slice(example.start - 1, len(example.tokens) - 1)
        with torch.no_grad():
            q, p = (model(torch.tensor([example.tokens])).logits[0, rows] for model in (student, master))
        sparse = fmt.sparse_teacher(p, states[rows], con, 2)
        expected.append(fmt.sparse_constrained_kl(q, sparse, states[rows], con, penalty=3.0))
    batch = collate(examples, con)
    found = learnt(student, cache.__getitem__, con, objective)(batch)
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-5, atol=1e-5)
    assert (found < distillation(student, master, batch, con, objective) - 1e-3).any()  # some of the teacher is lost


def test_a_killed_cache_goes_on_at_its_last_shard(con, examples, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_cache, "EXAMPLES_PER_SHARD", 1)
    master = tiny(seed=2).eval()
    teacher_cache.teacher_cache(tmp_path, master, examples, con)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) == len(examples)
    whole = [path.read_bytes() for path in shards]
    for path in shards[2:]:
        path.unlink()
    shards[2].with_suffix(".part").write_bytes(whole[2][:100])  # it was killed while it wrote this one
    asked = []
    ask = teacher_cache._ask
    monkeypatch.setattr(
        teacher_cache, "_ask", lambda teacher, shard, *rest: asked.append(shard) or ask(teacher, shard, *rest)
    )
    teacher_cache.teacher_cache(tmp_path, master, examples, con)
    assert asked == [[example] for example in examples[2:]]
    assert [path.read_bytes() for path in shards] == whole


def test_a_cache_of_something_else_is_refused(con, examples, tmp_path):
    master = tiny(seed=2).eval()
    cache = teacher_cache.teacher_cache(tmp_path, master, examples[:3], con, top_k=8)
    for what, other in {
        "top_k": {"top_k": 9},
        "temperature": {"temperature": 2.0},
        "teacher": {"teacher": tiny(seed=3)},
        "examples": {"examples": examples[:2]},
        "prompt": {"instruction": instruction()},
    }.items():
        given = {"teacher": master, "examples": examples[:3], "top_k": 8} | other
        with pytest.raises(TrainingError, match=f"made with another {what}: give another --teacher-cache, or delete"):
            teacher_cache.teacher_cache(tmp_path, con=con, **given)
    with pytest.raises(TrainingError, match="does not hold what the teacher says on example 3"):
        cache[collate(examples[3:], con)]


def test_a_model_s_digest_is_that_of_what_it_computes(tmp_path):
    model = tiny(seed=2)
    known = model_digest(model)
    model.save_pretrained(tmp_path)
    assert model_digest(AutoModelForCausalLM.from_pretrained(tmp_path)) == known
    assert model_digest(tiny(seed=3)) != known
    model.config.layer_norm_epsilon = 1e-3
    assert model_digest(model) != known


# --- without all logits at once ------------------------------------------------------------------------------------


@by_title
@pytest.mark.parametrize("instructed", [False, True])
def test_chunks_change_nothing(objective, instructed, con, examples):
    student, master = tiny(seed=1).eval(), gemma(seed=2)
    asked = instruction(padding_side="left") if instructed else None
    found, expected = (
        losses_and_gradient(
            student, learnt(student, running(master, asked, form), con, objective, form), [collate(examples, con)]
        )
        for form in (Hidden, Logits)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_the_format_in_chunks(con, examples):
    student, batch = gemma(seed=1), collate(examples, con)
    for one, other in zip(
        losses_and_gradient(student, lambda b: format_of(Hidden.of(student, b), b, con), [batch]),
        losses_and_gradient(student, lambda b: format_loss(student, b, con), [batch]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_chunks_hold_no_logits(con, examples, monkeypatch):
    """Of what autograd keeps, on the way too, nothing as wide as the vocabulary has a row for every position."""
    for place in ("fastmask.torch.linear._CHUNK_BYTES", "training.distillation.chunked.CHUNK_BYTES"):
        monkeypatch.setattr(place, 16 * 257 * 4)
    student, master, batch = tiny(seed=1), gemma(seed=2), collate(examples * 8, con)

    def tallest(form):
        rows = [0]

        def look(x):
            rows.append(x.numel() // 257 if x.shape[-1:] == (257,) else 0)
            return x

        with torch.autograd.graph.saved_tensors_hooks(look, lambda x: x):
            learnt(student, running(master, None, form), con, Objective(cross_entropy=0.5), form)(batch).mean()
        return max(rows)

    assert tallest(Hidden) < len(batch.targets) <= tallest(Logits)


def test_a_head_of_its_own_kind_is_refused():
    check_head("teacher", gemma())
    check_head("student", tiny())
    scaled = tiny()
    scaled.lm_head.register_forward_hook(lambda module, given, made: made * 2)
    with pytest.raises(TrainingError, match="--chunked: the student's logits are not its output layer's product"):
        check_head("student", scaled)
    with pytest.raises(TrainingError, match="give one"):
        Asking(cache="cache", chunked=True)
