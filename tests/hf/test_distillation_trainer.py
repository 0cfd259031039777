"""The distilling trainer: its steps against a plain loop over single texts, without padding, batches or labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmask as fm
from tests.hf import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
datasets = pytest.importorskip("datasets")
safetensors = pytest.importorskip("safetensors.torch")

from fastmask.corpus import ConstraintCollator  # noqa: E402
from fastmask.hf import ConstrainedDistillationTrainer  # noqa: E402
from tests.process_group import in_two_processes  # noqa: E402
from tests.test_divergence import oracle  # noqa: E402

IGNORED = -100
TOLERANCE = 1e-8  # in float64: the oracle rounds e^(-λ/τ) to float32
INF = float("inf")
ANSWERS = [
    '{"pos":"NOUN","n":[]}',
    '{"pos":"X","n":["a","b","a"]}',
    '{"pos":"PROPN","n":["b"]}',
    None,  # a text without an answer: a batch of its own has nothing to learn from
    '{"pos":"VERB","n":["a","a"]}',
    '{"pos":"ADJ","n":["b","b","b"]}',
    '{"pos":"DET","n":["a"]}',
    '{"pos":"ADV","n":[]}',
]


@pytest.fixture(scope="module")
def rows(tokenizer, con):
    """As an annotator leaves them: states, start, and columns of text that nothing reads."""
    made = []
    for number, text in enumerate(ANSWERS):
        prompt = [*tokenizer(tiny.PROMPTS[number % 3]).input_ids, tokenizer.eos_token_id]
        answer = [] if text is None else [*tokenizer(text).input_ids, tokenizer.eos_token_id]
        ids = prompt + answer
        states = con.walk([ids], start=len(prompt))[0].tolist()
        made.append({"input_ids": ids, "start": len(prompt), "states": states, "verdict": "complete", "text": text})
    assert len({len(row["input_ids"]) for row in made}) > 4
    assert con.check([made[1]["input_ids"]], start=made[1]["start"]).complete.all()
    return made


def model(seed: int, dtype: Any = torch.float64, **options: Any) -> Any:
    """A GPT-2 of strong opinions, without dropout unless it is asked for."""
    still = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0)
    return tiny.gpt2(0, seed, n_embd=16, initializer_range=0.4, **{**still, **options}).to(dtype)


def student_and_teacher(**options: Any) -> tuple[Any, Any]:
    return model(1, **options), model(2)


def trainer(folder: Any, con: Any, rows: Any, student: Any, teacher: Any, **options: Any) -> Any:
    """One step of plain gradient descent at rate 1, unless the options say otherwise."""
    names = {name for name in options if hasattr(transformers.TrainingArguments, name)}
    arguments = {
        "output_dir": str(folder), "per_device_train_batch_size": 8, "max_steps": 1, "optim": "sgd",
        "learning_rate": 1.0, "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "report_to": [], "use_cpu": True,
        "save_strategy": "no", "disable_tqdm": True,
    } | {name: options.pop(name) for name in names}  # fmt: skip
    data = {name: datasets.Dataset.from_list(options.pop(name, rows)) for name in ("train_dataset", "eval_dataset")}
    return ConstrainedDistillationTrainer(
        student, transformers.TrainingArguments(**arguments), teacher=teacher, constraint=con, **data, **options
    )


def parameters(model: Any) -> dict[str, Any]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def row_losses(row, student, teacher, con, temperature=1.0, cross_entropy=0.0, **options):
    """One text by itself: the definition, in float64, at the logits before each token of its answer."""
    ids = torch.tensor([row["input_ids"]])
    before = slice(row["start"] - 1, ids.shape[1] - 1)
    logits = student(ids).logits[0, before].double()
    with torch.no_grad():
        taught = teacher(ids).logits[0, before].double()
    allowed = con.allowed(np.array(row["states"], np.int32)[before])
    allowed = torch.from_numpy(allowed)
    losses = temperature**2 * oracle(logits, taught, temperature=temperature, allowed=allowed, **options)
    label_losses = -logits.log_softmax(-1)[torch.arange(len(logits)), ids[0, row["start"] :]]
    return (1 - cross_entropy) * losses + cross_entropy * label_losses


def plain_loss(rows, *arguments, **options):
    losses = torch.cat([row_losses(row, *arguments, **options) for row in rows])
    assert len(losses) > 30
    return losses.mean()


def plain_step(rows, student, teacher, con, **options):
    """The parameters after one step at rate 1, and the loss before it."""
    loss = plain_loss(rows, student, teacher, con, **options)
    named = dict(student.named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()))
    stepped = {name: (p - g).detach() for (name, p), g in zip(named.items(), gradients, strict=True)}
    return stepped, loss.item()


def assert_same(found, expected, tolerance=TOLERANCE):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name].double(), tensor.double(), rtol=0, atol=tolerance, msg=name)


SPLITS = {
    "one batch": (8, 1),
    "two batches": (4, 2),
    "four batches": (2, 4),
    "unequal batches": (3, 3),
    "single texts": (1, 8),
}


@pytest.mark.parametrize(("batch_size", "accumulated"), SPLITS.values(), ids=SPLITS)
def test_a_step_does_not_depend_on_its_batches(tmp_path, con, rows, batch_size, accumulated):
    student, teacher = student_and_teacher()
    expected, loss = plain_step(rows, student, teacher, con)
    split = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": accumulated}
    training = trainer(tmp_path, con, rows, student, teacher, **split)
    output = training.train()
    assert_same(parameters(student), expected)
    assert output.training_loss == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": INF},
        {"penalty": 0.0},
        {"penalty": 3.0, "temperature": 2.0, "cross_entropy": 0.25},
        {"penalty": 2.0, "reverse": True},
        {"target_invalid_mass": 0.01, "mask_on": "both"},
        {"penalty": INF, "jensen_shannon": 0.3, "temperature": 0.5},
    ],
    ids=str,
)
def test_the_options_of_the_loss(tmp_path, con, rows, options):
    student, teacher = student_and_teacher()
    expected, _ = plain_step(rows, student, teacher, con, **options)
    trainer(tmp_path, con, rows, student, teacher, **options).train()
    assert_same(parameters(student), expected)


def test_single_precision(tmp_path, con, rows):
    """By the kernel, which takes float32."""
    student, teacher = student_and_teacher(dtype=torch.float32)
    expected, _ = plain_step(rows, student, teacher, con)
    trainer(tmp_path, con, rows, student, teacher, per_device_train_batch_size=1, gradient_accumulation_steps=8).train()
    assert_same(parameters(student), expected, 1e-5)


class LeftCollator(ConstraintCollator):
    """Pads on the left, and says where each text's positions begin."""

    def __call__(self, examples):
        batch = super().__call__(examples)
        shifts = (batch["attention_mask"] == 0).sum(1).tolist()
        batch = {
            name: torch.stack([row.roll(shift) for row, shift in zip(tensor, shifts, strict=True)])
            for name, tensor in batch.items()
        }
        assert (batch["attention_mask"][:, 0] == 0).any()
        return batch | {"position_ids": (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)}


def test_padding_on_the_left(tmp_path, con, rows):
    student, teacher = student_and_teacher()
    expected, _ = plain_step(rows, student, teacher, con)
    trainer(tmp_path, con, rows, student, teacher, data_collator=LeftCollator(con)).train()
    assert_same(parameters(student), expected)


@pytest.mark.parametrize(("width", "options"), [(tiny.WIDTH + 24, {"penalty": 3.0}), (620, {})], ids=str)
def test_a_teacher_of_another_width(tmp_path, con, rows, width, options):
    """What pads its logits, or the student's, is no token."""
    student, teacher = model(1), model(2, vocab_size=width)
    narrow = min(width, tiny.WIDTH)

    def teacher_as_wide_as_the_student(ids):
        logits = torch.full((*ids.shape, tiny.WIDTH), -INF, dtype=torch.float64)
        logits[..., :narrow] = teacher(ids).logits[..., :narrow]
        return transformers.modeling_outputs.CausalLMOutput(logits=logits)

    expected, loss = plain_step(rows, student, teacher_as_wide_as_the_student, con, **options)
    assert loss < INF
    trainer(tmp_path, con, rows, student, teacher, **options).train()
    assert_same(parameters(student), expected)


@pytest.mark.parametrize("columns", [["input_ids", "states"], ["input_ids", "start"]], ids=str)
def test_the_columns_that_matter_are_kept(tmp_path, con, rows, columns):
    """States are enough, and so is where they begin; ``rows`` have columns of text, which are not read."""
    student, teacher = student_and_teacher()
    expected, _ = plain_step(rows, student, teacher, con)
    some = [{name: row[name] for name in [*columns, "text", "verdict"]} for row in rows]
    training = trainer(tmp_path, con, some, student, teacher)
    assert training.args.remove_unused_columns
    training.train()
    assert_same(parameters(student), expected)


# ---- evaluation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_evaluation_does_not_depend_on_its_batches(tmp_path, con, rows, batch_size):
    student, teacher = student_and_teacher()
    options = {"penalty": 3.0, "temperature": 2.0, "cross_entropy": 0.25}
    expected = plain_loss(rows, student, teacher, con, **options).item()
    training = trainer(tmp_path, con, rows, student, teacher, per_device_eval_batch_size=batch_size, **options)
    assert training.evaluate()["eval_loss"] == pytest.approx(expected, rel=TOLERANCE)
    assert training.evaluate()["eval_loss"] == pytest.approx(expected, rel=TOLERANCE)


def test_predictions_are_the_student_s_logits(tmp_path, con, rows):
    student, teacher = student_and_teacher()
    output = trainer(tmp_path, con, rows, student, teacher).predict(datasets.Dataset.from_list(rows))
    assert output.metrics["test_loss"] == pytest.approx(plain_loss(rows, student, teacher, con).item(), rel=TOLERANCE)
    for row, logits, labels in zip(rows, output.predictions, output.label_ids, strict=True):
        ids = row["input_ids"]
        alone = student(torch.tensor([ids])).logits[0].detach().numpy()
        np.testing.assert_allclose(logits[: len(ids)], alone, atol=TOLERANCE)
        assert labels[row["start"] : len(ids)].tolist() == ids[row["start"] :]


# ---- several processes -----------------------------------------------------------------------------------------------


def spoil(teacher: Any, logit: float, calls: tuple[int, ...] = (0,)) -> None:
    """From now on the teacher's answer to these of its calls has a logit that overflowed."""
    count = iter(range(1000))

    def overflow(module, inputs, output):
        if next(count) in calls:
            output.logits[:] = logit
        return output

    teacher.register_forward_hook(overflow)


def two_trainings(folder: Path, con: Any, rows: Any, splits: list[dict[str, Any]]) -> None:
    """In a process of its own: the parameters after a step of each split, and the loss of seven texts before the last.

    Seven, so that the last batch is filled up with a copy.
    """
    stepped = []
    for split in splits:
        student, teacher = student_and_teacher()
        training = trainer(folder, con, rows, student, teacher, per_device_eval_batch_size=2, **split)
        if split is splits[-1]:
            loss = training.evaluate(datasets.Dataset.from_list(rows[:7]))["eval_loss"]
        training.train()
        stepped.append(parameters(student))
    with pytest.raises(fm.InputError, match="a step has no answer position"):
        trainer(folder, con, [rows[3]] * 4, student, teacher).train()
    spoil(teacher if torch.distributed.get_rank() else model(2), INF)  # in one of the processes alone
    with pytest.raises(fm.InputError, match="the loss of step 1 is not finite"):
        trainer(folder, con, rows, student, teacher, per_device_train_batch_size=4).train()
    torch.save((stepped, loss), folder / f"{torch.distributed.get_rank()}.pt")


def test_two_processes(tmp_path, con, rows):
    """The step is that of one process, also where one of the two has nothing to learn from or is counted alone."""
    splits = [
        {"per_device_train_batch_size": 4},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "average_tokens_across_devices": False},
    ]
    student, teacher = student_and_teacher()
    expected, _ = plain_step(rows, student, teacher, con)
    expected_loss = plain_loss(rows[:7], student, teacher, con).item()
    assert in_two_processes(tmp_path, two_trainings, con, rows, splits)
    for rank in range(2):
        stepped, loss = torch.load(tmp_path / f"{rank}.pt")
        assert loss == pytest.approx(expected_loss, rel=TOLERANCE)
        assert len(stepped) == len(splits)
        for after in stepped:
            assert_same(after, expected)


# ---- checkpoints -----------------------------------------------------------------------------------------------------

LONG = {
    "max_steps": 7, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "optim": "adamw_torch",
    "learning_rate": 1e-2, "lr_scheduler_type": "cosine", "max_grad_norm": 1.0, "save_strategy": "steps",
    "save_steps": 3, "eval_strategy": "steps", "eval_steps": 2,
}  # fmt: skip


class Killed(transformers.TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt


def test_killed_and_resumed_is_as_if_nothing_had_happened(tmp_path, con, rows):
    """Bit for bit, with dropout, a schedule, shuffled epochs of two steps and evaluations in between."""

    def training(folder, **options):
        student, teacher = student_and_teacher(dtype=torch.float32, resid_pdrop=0.2, embd_pdrop=0.2)
        return trainer(tmp_path / folder, con, rows, student, teacher.float(), **LONG, **options)

    whole = training("whole")
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        training("killed", callbacks=[Killed()]).train()
    resumed = training("killed")
    resumed.train(resume_from_checkpoint=True)
    expected = parameters(whole.model)
    assert not torch.equal(expected["transformer.wte.weight"], model(1).float().transformer.wte.weight)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in parameters(resumed.model).items())


def test_a_checkpoint_is_an_ordinary_model(tmp_path, con, rows):
    """The student's weights and nothing of the teacher's, which stays as it was."""
    student, teacher = student_and_teacher(dtype=torch.float32)
    before = parameters(teacher)
    training = trainer(tmp_path, con, rows, student, teacher.train(), save_strategy="steps", save_steps=1)
    training.train()
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-1")
    assert type(loaded) is type(student)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in student.state_dict().items())
    (weights,) = (tmp_path / "checkpoint-1").glob("*.safetensors")
    assert safetensors.load_file(weights).keys() <= student.state_dict().keys()
    assert not teacher.training
    assert all(torch.equal(tensor, before[name]) and tensor.grad is None for name, tensor in teacher.named_parameters())


# ---- losses that are not finite --------------------------------------------------------------------------------------


@pytest.mark.parametrize("logit", [float("nan"), INF])
@pytest.mark.parametrize(("calls", "step"), [((0,), 1), ((1,), 1), ((4,), 3)], ids=str)
def test_an_overflow_ends_the_training_before_its_step(tmp_path, con, rows, logit, calls, step):
    """In either batch of a step, of which none is taken: the student is what two steps, or none, had made of it."""
    options = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-3}
    student, teacher = student_and_teacher()
    trainer(tmp_path, con, rows, student, teacher, **options, num_train_epochs=step - 1, max_steps=-1).train()
    expected = parameters(student)
    student, teacher = student_and_teacher()
    spoil(teacher, logit, calls)
    with pytest.raises(fm.InputError, match=rf"step {step} is not finite: .*teacher \(torch.float64\).*bfloat16"):
        trainer(tmp_path, con, rows, student, teacher, **options, max_steps=5).train()
    assert_same(parameters(student), expected)


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": "gpt2"}, "teacher must be a model, got str: load it beforehand"),
        ({"constraint": "[ab]+"}, "expected a fastmask.Constraint, got str"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"penalty": -1.0}, "a penalty must not be negative"),
        ({"mask_on": "students"}, "mask_on must be"),
        ({"cross_entropy": 1.0}, "a share, at least 0 and below 1, got 1.0"),
        ({"reverse": True, "penalty": INF}, "infinite if disallowed tokens have no mass"),
        ({"mask_on": "student", "target_invalid_mass": 0.0}, "infinite if disallowed tokens have no mass"),
        ({"penality": 3.0}, "ConstrainedDistillationTrainer has no option penality; did you mean penalty?"),
        ({"callback": []}, "has no option callback; did you mean callbacks?"),
        ({"zzz": 1}, "has no option zzz$"),
        ({"compute_loss_func": print}, "compute_loss_func would never be called"),
        ({"model": {"vocab_size": 639}}, "student's logits are 639 wide, the constraint's vocabulary 640"),
        ({"teacher": {"vocab_size": 500}}, r"teacher's logits are 500 wide .* goes up to token \d+"),
        ({"teacher": {"vocab_size": 639}, "reverse": True}, "640 wide, the teacher's 639: the reverse divergence"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_told_at_once(tmp_path, con, options, message):
    arguments = transformers.TrainingArguments(str(tmp_path), report_to=[], use_cpu=True)
    made = {name: model(0, **value) if isinstance(value, dict) else value for name, value in options.items()}
    with pytest.raises((fm.InputError, fm.InputTypeError), match=message):
        ConstrainedDistillationTrainer(
            args=arguments, **({"model": model(0), "teacher": model(0), "constraint": con} | made)
        )


def without(name: str) -> Any:
    return lambda batch: {key: value for key, value in batch.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("labels"), "a batch has no labels, only input_ids, attention_mask, states"),
        (without("states"), "a batch has no states, only input_ids, attention_mask, labels"),
        (lambda batch: batch | {"states": batch["states"][:, 1:]}, "must have one shape"),
        (lambda batch: batch | {"labels": torch.full_like(batch["labels"], IGNORED)}, "has no answer position"),
    ],
)
def test_batches_that_say_nothing(tmp_path, con, rows, change, message):
    collate = ConstraintCollator(con)
    training = trainer(tmp_path, con, rows, *student_and_teacher(), data_collator=lambda rows: change(collate(rows)))
    for call in (training.train, training.evaluate):
        with pytest.raises(fm.InputError, match=message):
            call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows, con: [{"sentence": "a", "json": "{}"}], "has no input_ids, only sentence, json: .*annotate"),
        (lambda rows, con: [{"input_ids": [1, 2]}], "has no states, only input_ids: fastmask.corpus.annotate"),
        (lambda rows, con: [], "has no rows"),
        (lambda rows, con: [row | {"states": row["states"][1:]} for row in rows], "input_ids and .* states"),
        (
            lambda rows, con: [row | {"states": con.after("{").walk([row["input_ids"]])[0].tolist()} for row in rows],
            "has another constraint's states",
        ),
    ],
)
@pytest.mark.parametrize("name", ["train_dataset", "eval_dataset"])
def test_rows_that_do_not_fit_are_told_at_once(tmp_path, con, rows, change, message, name):
    with pytest.raises(fm.InputError, match=message) as caught:
        trainer(tmp_path, con, rows, *student_and_teacher(), **{name: change(rows, con)})
    assert name in str(caught.value) or "example 0" in str(caught.value)


def test_rows_that_fit(tmp_path, con, rows):
    """Packed ones, and those that could not be judged: nothing is told of what is right."""
    packed = {name: rows[0][name] + rows[1][name] for name in ("input_ids", "states")} | {"start": rows[0]["start"]}
    unjudged = {"input_ids": [1, 2], "start": 5, "states": [fm.FREE] * 2}
    for first in (packed, unjudged):
        trainer(tmp_path, con, [first, *rows], *student_and_teacher()).train()


def test_nothing_is_learned_from_what_broke(tmp_path, con, rows):
    """The token that breaks a row's constraint is not right, and all behind it has no right continuation."""
    row = rows[1]
    at = row["start"] + 6
    ids = [*row["input_ids"][:at], row["input_ids"][0], *row["input_ids"][at:]]
    broken = {"input_ids": ids, "start": row["start"], "states": con.walk([ids], start=row["start"])[0].tolist()}
    assert broken["states"].index(fm.DEAD) == at
    cut = {"input_ids": ids[:at], "start": row["start"], "states": row["states"][:at]}
    stepped = []
    for second in (broken, cut):
        student, teacher = student_and_teacher()
        trainer(tmp_path, con, [rows[0], second], student, teacher, cross_entropy=0.25).train()
        stepped.append(parameters(student))
    assert_same(*stepped)
