"""The training path: alignment, losses that see answers only, the loop, and the whole demo on a few steps."""

import dataclasses
import itertools
import json
import math
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("conllu")

import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

import fastmask as fm
from fastmask.canonical import canonical_tokens
from tests.training_kit import (
    BYTES,
    EOS,
    FEW,
    ByteTokenizer,
    con,
    examples,
    finished,
    losses_and_gradient,
    one_thread,
    tiny,
    treebank,
)
from training import distil, evaluate, finetune, generate, label, prepare, teacher
from training.data.examples import NO_WORD, Example, collate, encode, groups_by_length
from training.data.sloppy import sloppy_answer
from training.data.tokenizer import load_tokenizer
from training.demo import demo
from training.errors import DivergenceError, TrainingError
from training.evaluation.score import score
from training.learning.gradients import Term
from training.learning.losses import Objective, constrained_cross_entropy, cross_entropy, distillation, format_loss
from training.learning.models import check_fits, load_model, tiny_gpt2
from training.learning.optimise import train
from training.learning.streams import EndlessBatches
from training.run import open_run
from training.sampling import answers as sampling
from training.sampling.on_policy import format_term
from training.sampling.slips import draw, sample_up_to_slips
from training.schema import AnnotatedSentence, AnnotatedToken, answer

# --- examples and batches ------------------------------------------------------------------------------------------


def test_alignment_by_hand(con, examples):
    batch = collate(examples[:2], con)
    first = examples[0]
    assert first.tokens == [*b"ab", EOS, *b"no", EOS]
    assert first.start == 3
    # Logits 2, 3, 4 predict n, o and the end.
    assert batch.predicts[0].nonzero().flatten().tolist() == [2, 3, 4]
    assert batch.targets.tolist() == [*b"no", EOS, *b"yes", EOS]
    allowed = con.allowed(batch.answer_states)
    sets = [set(row.nonzero().flatten().tolist()) for row in allowed]
    assert sets == [set(b"yn"), set(b"oe"), {EOS}, set(b"yn"), set(b"e"), set(b"s"), {EOS}]
    assert (batch.states[0, :2] == fm.FREE).all()


def test_tags_know_their_words(examples):
    text = answer([("a", "X"), ('","pos":"NOUN"', "VERB")])
    example = encode("e", "a", text, ByteTokenizer(), BYTES)
    spelled = {
        number: bytes(t for t, w in zip(example.tokens, example.word, strict=True) if w == number)
        for number in set(example.word) - {NO_WORD}
    }
    assert spelled == {0: b"X", 1: b"VERB"}


def test_a_space_of_the_tokenizer_is_taken_off():
    assert canonical_tokens("no", ByteTokenizer(prefix=" "), BYTES) == list(b"no")
    with pytest.raises(fm.InputError, match="expected the same bytes"):
        canonical_tokens("no", ByteTokenizer(prefix="_"), BYTES)


def test_every_answer_of_the_schema_is_accepted():
    con = fm.Constraint.from_schema(AnnotatedSentence, BYTES)
    words = [('"', "PUNCT"), ("\\", "SYM"), ("naïve", "ADJ"), ("東京", "PROPN"), ("🫖", "SYM"), ("", "X"), ("a b", "X")]
    replies = [answer(words), answer([]), sloppy_answer(answer(words * 9), 0.4, random.Random(0))]
    checked = con.check([[*canonical_tokens(reply, ByteTokenizer(), BYTES), EOS] for reply in replies])
    assert list(checked.complete) == [True, True, False]
    built = AnnotatedSentence(tokens=[AnnotatedToken(text=form, pos=tag) for form, tag in words])
    assert AnnotatedSentence.model_validate_json(replies[0]) == built


def test_batches_visit_everything_and_keep_to_their_size(examples):
    many = [Example(str(i), [0] * n, 1, [NO_WORD] * n) for i, n in enumerate([5, 9, 30, 7, 12, 8, 40, 6])]
    groups = groups_by_length(many, 32, random.Random(0))
    assert sorted(e.name for group in groups for e in group) == [e.name for e in many]
    for group in groups:
        assert len(group) * max(len(e.tokens) for e in group) <= 32 or len(group) == 1
    assert any(len(group) > 1 for group in groups)


def test_batches_depend_on_the_seed_only(con, examples):
    def first(seed):
        batches = EndlessBatches(examples, con, 24, seed)
        return [batch.tokens.tolist() for batch in itertools.islice(batches, 12)]

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_nothing_to_learn_from(con):
    with pytest.raises(TrainingError, match="no answer position"):
        collate([Example("e", [97, EOS], 2, [NO_WORD] * 2)], con)
    with pytest.raises(TrainingError, match="no examples"):
        next(EndlessBatches([], con, 32, 0))


# --- losses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cross-entropy", "plain", "penalty", "mixed", "format"])
def test_neither_padding_nor_splitting_changes_the_loss(kind, con, examples):
    student, master = tiny(seed=1).eval(), tiny(seed=2).eval()
    loss_of = {
        "cross-entropy": lambda batch: cross_entropy(student, batch),
        "plain": lambda batch: distillation(student, master, batch, con, Objective(penalty=0)),
        "penalty": lambda batch: distillation(student, master, batch, con, Objective()),
        "mixed": lambda batch: distillation(student, master, batch, con, Objective(cross_entropy=0.3, temperature=2)),
        "format": lambda batch: format_loss(student, batch, con),
    }[kind]
    whole = collate(examples, con)
    losses, gradient = losses_and_gradient(student, loss_of, [whole])
    assert len(losses) == sum(len(example.answer) for example in examples)

    padding = torch.arange(whole.tokens.shape[1]) >= torch.tensor([[len(e.tokens)] for e in examples])
    assert padding.any()
    repadded = dataclasses.replace(whole, tokens=whole.tokens.masked_fill(padding, 65))
    split = [collate(examples[:1], con), collate(examples[1:], con)]
    for batches in ([repadded], split):
        same_losses, same_gradient = losses_and_gradient(student, loss_of, batches)
        torch.testing.assert_close(same_losses, losses)
        torch.testing.assert_close(same_gradient, gradient)


def test_cross_entropy_by_hand(con, examples):
    model = tiny().eval()
    example = examples[1]
    log_probs = model(torch.tensor([example.tokens])).logits.log_softmax(-1)[0]
    by_hand = [-log_probs[t - 1, example.tokens[t]] for t in range(example.start, len(example.tokens))]
    torch.testing.assert_close(cross_entropy(model, collate([examples[0], example], con))[-4:], torch.stack(by_hand))


def test_cross_entropy_under_the_constraint(con, examples, treebank, tmp_path):
    model, batch = tiny().eval(), collate(examples, con)
    logits = model(batch.tokens).logits[batch.predicts].double()
    among_allowed = logits.where(con.allowed(batch.answer_states), -math.inf)
    expected = torch.nn.functional.cross_entropy(among_allowed, batch.targets, reduction="none")
    torch.testing.assert_close(constrained_cross_entropy(model, batch, con).double(), expected, rtol=1e-5, atol=1e-6)
    run = prepare.prepare(tmp_path, treebank=[treebank])
    finetune.finetune(run, start=None, name="strict", constrained=True, steps=1)
    assert run.numbers()["models"]["strict"]["title"] == "fine-tuned only under the constraint"


def test_a_student_of_its_teacher_has_nothing_to_learn_but_the_format(con, examples):
    model = tiny().eval()
    batch = collate(examples, con)
    torch.testing.assert_close(
        distillation(model, model, batch, con, Objective(penalty=0)), torch.zeros(len(batch.targets))
    )
    assert (distillation(model, model, batch, con, Objective()) > 0.1).all()


@pytest.mark.parametrize(
    "objective",
    [
        Objective(penalty=3.0),
        Objective(penalty=math.inf, jensen_shannon=0.4),
        Objective(target_invalid_mass=0.01, temperature=2.0),
        Objective(penalty=2.0, reverse=True, temperature=0.5),
        Objective(penalty=3.0, cross_entropy=0.25, temperature=3.0),
    ],
    ids=lambda objective: objective.title,
)
def test_an_objective_is_its_definition(objective, con, examples):
    """By the letter, in float64 on probabilities."""
    student, master = tiny(seed=1).eval().double(), tiny(seed=2).eval().double()
    batch = collate(examples, con)
    tau = objective.temperature
    q, p = ((model(batch.tokens).logits[batch.predicts] / tau).softmax(-1) for model in (student, master))
    allowed = torch.nn.functional.pad(con.allowed(batch.answer_states), (0, q.shape[-1] - con.vocab_size))
    inside, outside = p * allowed, p * ~allowed
    if objective.target_invalid_mass is None:
        shaped = inside + outside * math.exp(-objective.penalty / tau)
        shaped = shaped / shaped.sum(-1, keepdim=True)
    else:
        mass = objective.target_invalid_mass
        shaped = (1 - mass) * inside / inside.sum(-1, keepdim=True) + mass * outside / outside.sum(-1, keepdim=True)

    def kl(first, second):
        return (torch.xlogy(first, first) - torch.xlogy(first, second)).sum(-1)

    beta = objective.jensen_shannon
    if beta is None:
        expected = kl(q, shaped) if objective.reverse else kl(shaped, q)
    else:
        middle = beta * shaped + (1 - beta) * q
        expected = beta * kl(shaped, middle) + (1 - beta) * kl(q, middle)
    share = objective.cross_entropy
    right = -student(batch.tokens).logits[batch.predicts].log_softmax(-1).gather(-1, batch.targets[:, None])[:, 0]
    expected = (1 - share) * tau**2 * expected + share * right
    torch.testing.assert_close(distillation(student, master, batch, con, objective), expected, check_dtype=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cross_entropy": 1.0}, "below 1, got 1.0; for the right answers alone"),
        ({"on_policy_mask": math.inf}, "finite"),
        (
            {"penalty": math.inf, "reverse": True},
            "reverse divergence is infinite at an infinite penalty on the teacher",
        ),
        ({"target_invalid_mass": 0.0, "reverse": True}, "or a target for the invalid mass above 0"),
        ({"penalty": math.inf, "mask_on": "student"}, "forward divergence is infinite .* on the student"),
        ({"penalty": math.nan}, "penalty must be at least 0, got nan"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"jensen_shannon": 1.0}, "jensen_shannon must lie between 0 and 1"),
        ({"jensen_shannon": 0.5, "reverse": True}, "has no reverse"),
    ],
)
def test_objectives_that_cannot_be(options, message):
    with pytest.raises(fm.FastmaskError, match=message):
        Objective(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": math.inf, "reverse": True, "mask_on": "both"},
        {"penalty": math.inf, "reverse": True, "jensen_shannon": None, "target_invalid_mass": 0.1},
        {"penalty": math.inf, "mask_on": "student", "jensen_shannon": 0.5},
        {"penalty": math.inf, "mask_on": "student", "reverse": True},
    ],
)
def test_infinite_penalties_that_leave_the_divergence_finite(options, con, examples):
    student, master, batch = tiny(seed=1).eval(), tiny(seed=2).eval(), collate(examples, con)
    assert distillation(student, master, batch, con, Objective(**options)).isfinite().all()


@pytest.mark.parametrize("objective", [Objective(), Objective(math.inf, cross_entropy=0.5), Objective(0, reverse=True)])
def test_objectives_are_kept(objective):
    assert Objective.from_json(json.loads(json.dumps(objective.to_json()))) == objective


def test_the_format_loss_is_the_mass_on_allowed_tokens(con, examples):
    model, batch = tiny(seed=1).eval(), collate(examples, con)
    mass = model(batch.tokens).logits[batch.predicts].softmax(-1)[:, : con.vocab_size]
    expected = -(mass * con.allowed(batch.answer_states)).sum(-1).log()
    torch.testing.assert_close(format_loss(model, batch, con), expected)
    _, slope = losses_and_gradient(model, lambda batch: format_loss(model, batch, con), [batch])
    model.zero_grad()
    expected.mean().backward()
    torch.testing.assert_close(slope, torch.cat([p.grad.flatten() for p in model.parameters()]))


# --- samples of its own --------------------------------------------------------------------------------------------


def test_samples_end_with_their_first_slip():
    """Of a model so sure of itself that sampling is greedy decoding, which transformers does and `check` cuts."""
    con = fm.Constraint.from_regex("[^a-m]*", BYTES)
    certain = tiny(layers=2).eval()
    with torch.no_grad():
        certain.transformer.ln_f.weight.mul_(1e5)
    prompts = [encode(f"{i}", "?" * i, "n" * 9, ByteTokenizer(), BYTES) for i in range(24)]
    whole = sampling.continue_prompts(certain, prompts, EOS, 64, greedy=True)
    slips = con.check(whole).first_error.tolist()
    expected = [answer[: slip + 1] if slip >= 0 else answer for answer, slip in zip(whole, slips, strict=True)]
    assert len({len(answer) for answer in expected}) > 3  # so that rows were dropped while others went on
    assert sample_up_to_slips(certain, prompts, con, EOS, 64) == expected


@pytest.mark.parametrize("greedy", [False, True])
def test_answers_are_the_model_s_own_whatever_its_configuration_asks_for(greedy):
    model = tiny(layers=2).eval()
    prompts = [encode(f"{i}", "?" * i, "n" * 9, ByteTokenizer(), BYTES) for i in range(4)]

    def answers():
        torch.manual_seed(0)
        return sampling.continue_prompts(model, prompts, EOS, 64, greedy=greedy)

    plain = answers()
    habits = {"repetition_penalty": 9.0, "min_p": 0.9, "num_beams": 2, "suppress_tokens": plain[0][:3]}
    asked = model.generation_config = transformers.GenerationConfig(**habits)
    assert answers() == plain
    assert model.generation_config is asked


def test_tokens_are_drawn_as_often_as_the_model_says():
    torch.manual_seed(0)
    logits = torch.tensor([0.0, -1.0, -math.inf, 2.0, -3.0, -math.inf])
    drawn = draw(logits.expand(40_000, -1)).flatten().bincount(minlength=6) / 40_000
    torch.testing.assert_close(drawn, logits.softmax(0), atol=0.01, rtol=0)
    assert drawn[[2, 5]].sum() == 0


def test_samples_begin_behind_their_share_of_the_steps(treebank, tmp_path):
    run = prepare.prepare(tmp_path, treebank=[treebank])
    finetune.finetune(run, start=None, name="late", on_policy_mask=1.0, on_policy_from=0.5, steps=4)
    lines = (tmp_path / "late.metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert ["format" in json.loads(line)["terms"] for line in lines] == [False, False, True, True]
    assert Objective(on_policy_mask=1).samples_begin == 0.5
    assert Objective(rollouts="student").samples_begin == 0.0  # there is nothing else to learn
    with pytest.raises(TrainingError, match="share of the steps"):
        Objective(on_policy_mask=1, on_policy_from=1.0)
    with pytest.raises(TrainingError, match=r"(?s)no causal language model .*\(models of .*: late\)"):
        run.load("tokenizer")
    with pytest.raises(TrainingError, match="share of the steps"):
        finetune.finetune(run, start=None, name="never", on_policy_mask=1.0, on_policy_from=1.0, steps=4)
    with pytest.raises(TrainingError, match="must be finite"):
        finetune.finetune(run, start=None, name="never", on_policy_mask=math.inf, steps=4)
    with pytest.raises(TrainingError, match="holds no model 'student' to go on from, but late: give another --start"):
        finetune.finetune(run, start="student", name="never", steps=4)


def test_a_student_learns_the_format_from_its_own_samples(treebank, tmp_path):
    """From noise, without a teacher and without an answer: free samples come to begin as the schema wants."""
    run = prepare.prepare(tmp_path, treebank=[treebank])
    student = tiny_gpt2(layers=1, width=32, seed=0, **run.tiny_model_settings)
    term = format_term(run, student, 1.0, begins=0.0)
    first = [format_loss(student, next(term.stream), run.con).mean().item() for _ in range(2)]
    train(student, [term], dict, steps=12, learning_rate=1e-2, title="test")
    assert format_loss(student, next(term.stream), run.con).mean() < min(first) / 2


# --- the loop and the scores ---------------------------------------------------------------------------------------


def test_the_loop_learns(con, examples):
    model = tiny(seed=3)
    history = train(
        model, [Term("cross-entropy", EndlessBatches(examples, con, 64, 0), cross_entropy)], dict,
        steps=30, learning_rate=1e-2, title="test",
    )  # fmt: skip
    assert [history[0]["step"], history[-1]["step"]] == [1, 30]
    assert history[-1]["training_loss"] < history[0]["training_loss"] / 2


def test_score_of_certain_models():
    """Against a stub that always knows the next token, and one that always says the end."""
    con = fm.Constraint.from_schema(AnnotatedSentence, BYTES)
    example = encode("e", "tea", answer([("tea", "NOUN"), ("!", "PUNCT")]), ByteTokenizer(), BYTES)

    class Fixed:
        device = "cpu"

        def __init__(self, sees):
            self.sees = sees

        def eval(self):
            return self

        def __call__(self, input_ids, use_cache):
            logits = 50.0 * torch.nn.functional.one_hot(self.sees(input_ids), 257)
            return type("Output", (), {"logits": logits})

    right = score(Fixed(lambda ids: ids.roll(-1, dims=1)), [example], con)
    assert right == pytest.approx({"loss": 0, "invalid_mass": 0, "tag_accuracy": 1})
    silent = score(Fixed(lambda ids: torch.full_like(ids, EOS)), [example], con)
    # The end is disallowed everywhere but at the end.
    assert silent["invalid_mass"] == pytest.approx(1 - 1 / len(example.answer))
    assert silent["tag_accuracy"] == 0


def test_nan_stops_the_loop(con, examples):
    model = tiny()
    batches = EndlessBatches(examples, con, 64, 0)
    term = Term("cross-entropy", batches, lambda model, batch: cross_entropy(model, batch) * float("nan"))
    with pytest.raises(DivergenceError, match="nan at step 1"):
        train(model, [term], dict, steps=3, learning_rate=1e-3, title="test")


def test_models_that_do_not_fit_together():
    assert check_fits("student", fitting := tiny(), 257, 64) is fitting
    with pytest.raises(TrainingError, match="the student's logits are 258 wide and the run's 257"):
        check_fits("student", tiny(vocab_size=258), 257, 64)
    with pytest.raises(TrainingError, match="the teacher reads 32 tokens"):
        check_fits("teacher", tiny(context=32), 257, 64)
    with pytest.raises(TrainingError, match="no causal language model"):
        load_model("/nowhere/at/all")
    with pytest.raises(TrainingError, match="no tokenizer"):
        load_tokenizer("/nowhere/at/all")


def test_verdicts(con):
    answers = [[*b"no", EOS, EOS], [*b"neve"], [*b"not", EOS], [*b"y", EOS]]
    assert sampling.judge(answers, con) == ["valid", "cut off", "invalid", "ended early"]


# --- the programs --------------------------------------------------------------------------------------------------


def test_the_demo_writes_everything(finished):
    names = ["teacher", "student-plain", "student", "finetuned"]
    numbers = json.loads((finished / "numbers.json").read_text(encoding="utf-8"))
    assert list(numbers["models"]) == names
    assert numbers["data"]["accepted"] == numbers["data"]["records"] == 36
    for model in numbers["models"].values():
        assert {"loss", "invalid_mass", "tag_accuracy"} < set(model["scores"])
        assert np.isfinite(list(model["scores"].values())).all()
        for shares in model["samples"].values():
            assert sum(shares.values()) == pytest.approx(1)
        assert model["samples"]["constrained"]["invalid"] == 0
    for name in names:
        assert len(json.loads((finished / f"samples-{name}.json").read_text(encoding="utf-8"))) == 4 * FEW["samples"]
        assert AutoModelForCausalLM.from_pretrained(finished / name).config.vocab_size == numbers["data"]["vocabulary"]
        assert AutoTokenizer.from_pretrained(finished / name).eos_token == "<|endoftext|>"
    assert "distilled, plain" in (finished / "table.md").read_text(encoding="utf-8")
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_demo_takes_models_by_name(finished, treebank, tmp_path):
    demo(
        out=tmp_path, treebank=[treebank], teacher=str(finished / "teacher"), student=str(finished / "student"),
        penalty=float("inf"), **FEW,
    )  # fmt: skip
    numbers = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert numbers["models"]["teacher"]["history"] == []
    assert numbers["models"]["student"]["objective"]["penalty"] == "inf"
    assert np.isfinite(numbers["models"]["student"]["scores"]["loss"])
    assert open_run(tmp_path).load("teacher").config.n_layer == 2  # borrowed: found by the name it was given


def test_the_stages_one_by_one(treebank, tmp_path):
    prepare.main(out=tmp_path, treebank=[treebank], heldout=[treebank])
    teacher.main(tmp_path, steps=2)
    distil.main(tmp_path, steps=2, penalty=math.inf, ce=0.3, on_policy_mask=0.5)
    finetune.main(tmp_path, steps=2)
    finetune.main(tmp_path, steps=2, fresh=True, on_policy_mask=0.5, name="fresh")
    evaluate.main(tmp_path, name=["finetuned"], samples=2)
    models = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))["models"]
    assert [name for name, model in models.items() if "scores" in model] == ["finetuned"]
    assert (tmp_path / "table.md").exists()


def test_sentences_of_one_s_own(finished, capsys):
    generate.main(finished, ["Ada pours tea.", "[bold] tea"], name=["student"])
    said = capsys.readouterr().out
    assert "Ada pours" in said
    assert "[bold]" in said
    found = generate.generate(open_run(finished), load_model(str(finished / "student")), ["Ada pours tea."])
    (written,) = found["constrained"]
    assert written.verdict in ("valid", "cut off")
    assert written.verdict == "cut off" or AnnotatedSentence.model_validate_json(written.text)
    with pytest.raises(TrainingError, match="leaves no room for an answer"):
        generate.generate(open_run(finished), load_model(str(finished / "student")), ["tea " * 2000])


@pytest.mark.parametrize("greedy", [False, True])
def test_labelling_goes_on_where_it_was_killed(finished, tmp_path, greedy, monkeypatch):
    monkeypatch.setattr("training.label.PROMPTS_AT_ONCE", 2)
    run = open_run(finished)
    model, texts = run.load("teacher"), [record.text for record in run.records[:5]]
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    verdicts = label.label(run, model, texts, whole, greedy=greedy)
    rows = [json.loads(line) for line in whole.read_text(encoding="utf-8").splitlines()]
    assert [row["input"] for row in rows] == texts
    assert verdicts.total() == 5
    assert verdicts["invalid"] == 0
    for row in rows:
        assert row["verdict"] != "valid" or AnnotatedSentence.model_validate_json(row["answer"])
    written = whole.read_bytes()
    for length in (0, 1, len(written) // 2, len(written) - 1, len(written)):
        broken.write_bytes(written[:length])
        assert label.label(run, model, texts, broken, greedy=greedy) == verdicts
        assert broken.read_bytes() == written
    with pytest.raises(TrainingError, match="answers to other sentences"):
        label.label(run, model, ["another", *texts[1:]], broken)
    with pytest.raises(TrainingError, match="holds 5 answers, there are 2"):
        label.label(run, model, texts[:2], broken)
    for other in ({"greedy": not greedy}, {"model": run.load("student")}):
        with pytest.raises(TrainingError, match="answers of another teacher, prompt, schema or seed"):
            label.label(run, other.get("model", model), texts, broken, greedy=other.get("greedy", greedy))
    broken.write_text("my notes\n", encoding="utf-8")
    with pytest.raises(TrainingError, match="answers to other sentences"):
        label.label(run, model, texts, broken)
    assert broken.read_text(encoding="utf-8") == "my notes\n"


def test_labels_are_lines_whatever_their_texts_hold(finished, tmp_path, monkeypatch):
    """U+2028 and U+0085 end a line for `str.splitlines`, and stand in JSON as they are."""
    monkeypatch.setattr("training.label.PROMPTS_AT_ONCE", 1)
    run, path, texts = open_run(finished), tmp_path / "odd.jsonl", ["tea\u2028tea", "tea\x85", "tea"]
    model = run.load("teacher")
    label.label(run, model, texts, path)
    written = path.read_bytes()
    path.write_bytes(written[:-5])
    label.label(run, model, texts, path)
    assert path.read_bytes() == written


def test_answers_that_are_all_there_are_not_written_again(finished, tmp_path):
    """Every process but the first finds them so, while others read them."""
    run, path = open_run(finished), tmp_path / "answers.jsonl"
    texts, model = [record.text for record in run.records[:3]], run.load("teacher")
    label.label(run, model, texts, path)
    os.utime(path, (0, 0))
    label.label(run, model, texts, path)
    assert path.stat().st_mtime == 0


def test_answers_from_elsewhere(finished, tmp_path, capsys):
    run = open_run(finished)
    path = tmp_path / "answers.jsonl"
    good = [{"input": record.text, "answer": record.answer, "model": "large"} for record in run.records[:3]]
    bad = [
        {"input": "x", "answer": '{"tokens":[]'},
        {"input": "x", "answer": "no"},
        {"input": "y " * 900, "answer": answer([])},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in good + bad), encoding="utf-8")
    kept = label.read_answers(run, path)
    assert [example.answer for example in kept] == [example.answer for example in run.train[:3]]
    said = capsys.readouterr().out.replace("\n", " ")
    assert "3 answers to learn from; left out: 2 refused by the schema, 1 too long" in said
    shutil.copytree(finished, tmp_path / "run")
    finetune.main(tmp_path / "run", steps=2, fresh=True, answers=path, name="labelled")
    assert open_run(tmp_path / "run").load("labelled").config.n_layer == 2
    for text, message in (
        ("", "no answer to learn from: it is empty"),
        ('{"input": "x", "answer": "no"}', "no answer to learn from: 1 refused by the schema"),
        ('{"input": "x"}\n', r"line 1: expected {\"input\""),
        ("[1]\n", "line 1: expected"),
        ("{\n", "line 1: no JSON"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(TrainingError, match=message):
            label.read_answers(run, path)
    with pytest.raises(TrainingError, match="there is no file"):
        label.read_answers(run, tmp_path / "none.jsonl")


def test_another_model_of_a_name_has_no_scores_of_the_first(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    assert "scores" in open_run(folder).numbers()["models"]["student"]
    finetune.main(folder, fresh=True, name="student", steps=1)
    known = open_run(folder).numbers()["models"]["student"]
    assert set(known) == {"title", "history", "start"}
    assert known["title"] == "fine-tuned only"


def test_too_long_is_counted_and_said(treebank, tmp_path, capsys):
    with pytest.raises(TrainingError, match="one side of the split is empty"):
        prepare.prepare(tmp_path, treebank=[treebank], max_length=8)
    run = prepare.prepare(tmp_path, treebank=[treebank], heldout=[treebank])
    limit = max(len(example.tokens) for example in run.train) - 1
    run = prepare.prepare(tmp_path, treebank=[treebank], heldout=[treebank], max_length=limit, restart=True)
    left_out = run.numbers()["data"]["too_long"]
    assert 0 < left_out < 72
    assert left_out == 72 - len(run.train) - len(run.heldout)
    assert len(run.records) == len(run.train)
    assert f"{left_out} longer than {limit} tokens, left out" in capsys.readouterr().out


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(TrainingError, match="begin one with"):
        open_run(tmp_path)


def test_a_run_prepared_again_keeps_its_models_or_is_refused(treebank, tmp_path):
    prepare.prepare(tmp_path, treebank=[treebank]).record("student", title="a student")
    before = (tmp_path / "tokenizer" / "tokenizer.json").read_bytes()
    with pytest.raises(TrainingError, match=r"settings: seed was 0, is now 1\. Give another folder, or --restart"):
        prepare.prepare(tmp_path, treebank=[treebank], seed=1)
    assert (tmp_path / "tokenizer" / "tokenizer.json").read_bytes() == before
    assert prepare.prepare(tmp_path, treebank=[treebank]).numbers()["models"] == {"student": {"title": "a student"}}
    assert prepare.prepare(tmp_path, treebank=[treebank], seed=1, restart=True).numbers()["models"] == {}


def test_a_restart_leaves_nothing_of_the_run_before(treebank, tmp_path):
    """Neither a model, a checkpoint nor a table; but what is not the run's, and what a teacher was asked."""
    prepare.prepare(tmp_path, treebank=[treebank])
    teacher.main(tmp_path, steps=1)
    evaluate.main(tmp_path, samples=1)
    (tmp_path / "begun.checkpoint" / "4").mkdir(parents=True)
    for name in ("cache", "mine"):
        (tmp_path / name).mkdir()
    assert open_run(tmp_path).source("teacher") == str(tmp_path / "teacher")
    run = prepare.prepare(tmp_path, treebank=[treebank], restart=True)
    kept = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert kept == {"cache", "mine", "tokenizer", "numbers.json", "left_out.jsonl"}
    with pytest.raises(TrainingError, match=r"models of .*: none yet"):
        run.load("teacher")


def test_a_folder_that_the_numbers_do_not_know_is_no_model_of_the_run(treebank, tmp_path):
    run = prepare.prepare(tmp_path, treebank=[treebank])
    (tmp_path / "teacher").mkdir()  # a kill in the middle of a restart leaves such
    assert run.source("teacher") == "teacher"
    run.record("teacher", title="borrowed", source="gpt2")
    assert run.source("teacher") == "gpt2"
    run.record("other", title="trained here")
    assert run.source("other") == str(tmp_path / "other")


def test_a_restart_removes_nothing_outside_of_the_run(treebank, tmp_path):
    run = prepare.prepare(tmp_path / "run", treebank=[treebank])
    (tmp_path / "elsewhere").mkdir()
    for name in ("../elsewhere", ".", "", "nowhere"):
        run.record(name, title="…")
    prepare.prepare(tmp_path / "run", treebank=[treebank], restart=True)
    assert (tmp_path / "elsewhere").exists()
    assert prepare.prepare(tmp_path / "run", treebank=[treebank]).numbers()["models"] == {}


def test_what_was_learnt_while_a_run_is_prepared_again_is_kept(treebank, tmp_path, monkeypatch):
    prepare.prepare(tmp_path, treebank=[treebank])
    monkeypatch.setattr(prepare, "report_counts", lambda run, _: run.record("student", title="another program's"))
    again = prepare.prepare(tmp_path, treebank=[treebank])
    assert again.numbers()["models"] == {"student": {"title": "another program's"}}


def test_programs_that_work_on_one_run_lose_no_record_of_each_other(treebank, tmp_path):
    run = prepare.prepare(tmp_path, treebank=[treebank])
    names = [f"model-{i}" for i in range(80)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda name: run.record(name, title=name), names):
            pass
    assert sorted(run.numbers()["models"]) == sorted(names)
