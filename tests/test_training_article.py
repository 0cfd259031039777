"""A step in the article's settings, on a CPU: GPT-2's tokenizer, a student of 12 layers, 192 wide."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("conllu")
datasets = pytest.importorskip("datasets")

import transformers

import fastmask as fm
from fastmask.hf import ConstrainedDistillationTrainer
from tests.training_kit import one_thread
from tests.vocabularies import real
from training.data.examples import collate, encode
from training.learning.gradients import Term, step_gradient
from training.learning.losses import PENALTY, Objective, distillation
from training.learning.models import tiny_gpt2
from training.learning.processes import new_accelerator
from training.learning.streams import EndlessBatches
from training.schema import AnnotatedSentence, answer

SENTENCES = [[("Ada", "PROPN"), ("pours", "VERB"), ("tea", "NOUN"), (".", "PUNCT")], [("Stop", "VERB"), ("!", "PUNCT")]]


@pytest.fixture(scope="module")
def setting():
    """(constraint, examples, student, teacher); the teacher is of one layer, for all that differs is its time."""
    gpt2 = real("gpt2")
    con = fm.Constraint.from_schema(AnnotatedSentence, gpt2.vocabulary)
    examples = [
        encode(text, text, answer(words), gpt2.tokenizer, gpt2.vocabulary)
        for words in SENTENCES
        for text in [" ".join(form for form, _ in words)]
    ]
    student, teacher = (
        tiny_gpt2(layers=layers, width=192, vocab_size=50_257, context=128, eos=gpt2.eos, seed=seed)
        for layers, seed in ((12, 1), (1, 2))
    )
    return con, examples, student, teacher


def penalised_kl(student, teacher, batch, con):
    """By a boolean mask and in float64, as one would write it."""
    with torch.no_grad():
        q, p = (model(batch.tokens).logits[batch.predicts].double() for model in (student, teacher))
        p = torch.where(con.allowed(batch.answer_states), p, p - PENALTY).log_softmax(-1)
        return (p.exp() * (p - q.log_softmax(-1))).sum(-1).mean().item()


def test_a_step_of_the_loop_and_of_the_trainer(setting, tmp_path):
    con, examples, student, teacher = setting
    batch = collate(examples, con)
    assert sum(parameter.numel() for parameter in student.parameters()) == pytest.approx(15e6, rel=0.02)
    expected = penalised_kl(student, teacher, batch, con)
    before = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}

    term = Term(
        "distillation",
        EndlessBatches(examples, con, 512, 0),
        lambda model, batch: distillation(model, teacher, batch, con, Objective()),
    )
    measured = step_gradient(new_accelerator(), student, [term], [[next(term.stream)]])
    assert measured.loss == pytest.approx(expected, rel=1e-5)
    stepped = {name: (before[name] - p.grad) for name, p in student.named_parameters()}
    student.zero_grad()

    rows = [
        {"input_ids": e.tokens, "start": e.start, "states": con.walk([e.tokens], start=e.start)[0].tolist()}
        for e in examples
    ]
    arguments = transformers.TrainingArguments(
        str(tmp_path), per_device_train_batch_size=2, max_steps=1, optim="sgd", learning_rate=1.0, max_grad_norm=1.0,
        lr_scheduler_type="constant", report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = ConstrainedDistillationTrainer(
        student, arguments, teacher=teacher, constraint=con, train_dataset=datasets.Dataset.from_list(rows)
    )
    assert trainer.train().training_loss == pytest.approx(expected, rel=1e-5)
    for name, parameter in student.named_parameters():
        torch.testing.assert_close(parameter, stepped[name], rtol=0, atol=1e-6, msg=name)
