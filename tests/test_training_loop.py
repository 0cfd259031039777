"""The loop: killed and begun again, in several processes, in larger steps; its metrics; what it refuses."""

import json
import math
import multiprocessing
import os
import shutil
import signal
from functools import partial
from unittest import mock

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("conllu")

from safetensors.torch import load_file

import training.learning.checkpoints
import training.learning.learn
import training.learning.optimise
from tests.process_group import in_two_processes
from tests.training_kit import con, examples, one_thread, tiny, treebank
from training import distil, finetune, prepare, teacher
from training.errors import DivergenceError, StoppedError, TrainingError
from training.learning.gradients import Term, step_gradient
from training.learning.losses import cross_entropy, format_loss
from training.learning.metrics import Metrics
from training.learning.models import tiny_gpt2
from training.learning.optimise import train
from training.learning.processes import new_accelerator
from training.learning.streams import EndlessBatches
from training.program import program
from training.run import open_run

STEPS = 8
STAGES = {
    "teacher": teacher.main,
    "student": partial(distil.main, ce=0.3, on_policy_mask=0.5, on_policy_from=0.0),
    "finetuned": partial(finetune.main, fresh=True, on_policy_mask=0.5, on_policy_from=0.0),
}


def stage(name, folder, **options):
    """With a few samples at once, which are served in several batches."""
    with mock.patch.multiple("training.sampling.on_policy", PROMPTS_AT_ONCE=5, TOKENS_PER_BATCH=120):
        STAGES[name](folder, **({"steps": STEPS, "checkpoint_every": 3} | options))


@pytest.fixture(scope="module")
def prepared(treebank, tmp_path_factory):
    """A run with a teacher."""
    folder = tmp_path_factory.mktemp("runs") / "prepared"
    prepare.main(out=folder, treebank=[treebank])
    teacher.main(folder, steps=2)
    return folder


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """The same, after every stage has run to its end without a break."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    shutil.copytree(prepared, folder)
    for name in ("student", "finetuned", "teacher"):  # the student's teacher is that of `prepared`
        stage(name, folder)
    return folder


@pytest.fixture
def copied(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "run")


def lines_of(folder, name):
    """Without what the clock says."""
    lines = [json.loads(line) for line in (folder / f"{name}.metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in ("seconds", "tokens_per_second")} for line in lines]


def assert_same(folder, other, name):
    """Bit for bit: weights, history and metrics; and nothing else is left."""
    assert (folder / name / "model.safetensors").read_bytes() == (other / name / "model.safetensors").read_bytes()
    assert open_run(folder).numbers()["models"][name] == open_run(other).numbers()["models"][name]
    assert lines_of(folder, name) == lines_of(other, name)
    assert not list(folder.glob("*.checkpoint"))
    assert not list(folder.glob("**/*.part"))


# --- killed --------------------------------------------------------------------------------------------------------

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.test_training_loop"])  # imports torch once for all of them


def die(*_arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(step, act):
    """A `Metrics.write` after which something happens behind one step."""
    write = Metrics.write

    def write_and_act(self, line):
        write(self, line)
        if line["step"] == step:
            act()

    return write_and_act


def in_a_process(name, folder, moment):
    """In a process of its own, that is killed in the middle: behind a step, or while it writes."""
    torch.set_num_threads(1)
    if moment == "saving":
        training.learning.checkpoints.write_json = die
    elif moment == "keeping":
        training.learning.learn.write_json = die
    else:
        Metrics.write = at_step(moment, die)
    stage(name, folder)


@pytest.mark.parametrize(
    ("name", "moments"),
    # Before the first checkpoint; behind it, and again; while one is written; when all is done but to say so.
    [("teacher", [4, "saving"]), ("student", [5, "saving", "keeping"]), ("finetuned", [2, 4, 7])],
)
def test_killed_and_begun_again_is_as_if_nothing_had_happened(name, moments, whole, copied):
    for moment in moments:
        process = processes.Process(target=in_a_process, args=(name, copied, moment))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    stage(name, copied)
    assert_same(copied, whole, name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_behind_a_checkpoint(number, whole, copied, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["training.finetune"])
    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "write", at_step(4, lambda: os.kill(os.getpid(), number)))
        with pytest.raises(SystemExit) as end:
            program(lambda: stage("finetuned", copied))
        assert end.value.code == 128 + number
    assert "stopped behind step 4 of 8; the same command goes on from there" in capsys.readouterr().err
    assert [path.name for path in (copied / "finetuned.checkpoint").iterdir()] == ["4"]
    stage("finetuned", copied)
    assert_same(copied, whole, "finetuned")


@pytest.fixture
def interruptible():
    """Whoever began the tests may have had Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_second_signal_stops_at_once(copied, monkeypatch):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Metrics, "write", at_step(2, twice))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        stage("finetuned", copied)
    assert signal.getsignal(signal.SIGINT) is before
    assert not (copied / "finetuned.checkpoint").exists()


@pytest.fixture(scope="module")
def halfway(prepared, tmp_path_factory):
    """A run whose student stopped behind step 4."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("runs") / "halfway")
    stop = at_step(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with mock.patch.object(Metrics, "write", stop), pytest.raises(StoppedError):
        stage("student", folder)
    return folder


@pytest.fixture
def stopped(halfway, tmp_path):
    return shutil.copytree(halfway, tmp_path / "stopped")


def other_weights(folder):
    tiny_gpt2(layers=2, width=128, seed=5, **open_run(folder).tiny_model_settings).save_pretrained(folder / "teacher")


def other_sentences(folder):
    """The same file, now with another text."""
    path = open_run(folder).settings.treebank[0]
    changed = path.replace("tea.conllu", "coffee.conllu")
    with open(path, encoding="utf-8") as source, open(changed, "w", encoding="utf-8") as target:
        target.write(source.read().replace("pours", "brews"))
    numbers = (folder / "numbers.json").read_text(encoding="utf-8")
    (folder / "numbers.json").write_text(numbers.replace("tea.conllu", "coffee.conllu"), encoding="utf-8")


def other_seed(folder):
    numbers = (folder / "numbers.json").read_text(encoding="utf-8")
    (folder / "numbers.json").write_text(numbers.replace('"seed": 0', '"seed": 7'), encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "change", "differs"),
    [
        ({"penalty": 2.0}, None, r'objective.penalty was "10", is now "2"'),
        ({"steps": 9}, None, "steps was 8, is now 9"),
        ({"accumulate": 2}, None, "accumulate was 1, is now 2"),
        ({"on_policy_mask": 0.0}, None, "terms.format.weight was 0.5, is now not there"),
        ({"student": "teacher"}, None, "model.n_embd was 96, is now 128"),
        ({}, other_weights, 'teacher_weights was "[0-9a-f]{12}…", is now "[0-9a-f]{12}…"'),
        ({}, other_sentences, r'terms.distillation.data was "[0-9a-f]+", is now "[0-9a-f]+"'),
        ({}, other_seed, "settings.seed was 0, is now 7"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(stopped, options, change, differs):
    if change:
        change(stopped)
    with pytest.raises(TrainingError, match=f"(?s)step 4 of another training: .*{differs}.*--restart to throw it away"):
        stage("student", stopped, **options)
    assert [path.name for path in (stopped / "student.checkpoint").iterdir()] == ["4"]


@pytest.mark.parametrize("name", ["model.safetensors", "streams_0.pt", "configuration.json"])
def test_a_checkpoint_that_is_damaged_is_named_and_kept(stopped, name):
    (stopped / "student.checkpoint" / "4" / name).write_bytes(b"{")
    with pytest.raises(
        TrainingError, match=r"student.checkpoint.4.* (cannot be read|is damaged): .*--restart begins anew"
    ):
        stage("student", stopped)
    assert [path.name for path in (stopped / "student.checkpoint").iterdir()] == ["4"]


def test_without_checkpoints_those_of_another_training_are_left_alone(stopped):
    stage("student", stopped, penalty=2.0, checkpoint_every=0)
    assert [path.name for path in (stopped / "student.checkpoint").iterdir()] == ["4"]


def test_anew_whatever_was_begun_or_finished(stopped, whole, capsys):
    stage("student", stopped, restart=True, keep_checkpoint=True)
    assert [path.name for path in (stopped / "student.checkpoint").iterdir()] == ["6"]
    shutil.rmtree(stopped / "student.checkpoint")
    assert_same(stopped, whole, "student")
    weights = stopped / "student" / "model.safetensors"
    written = weights.stat().st_mtime_ns
    capsys.readouterr()
    stage("student", stopped)
    assert "trained with these very settings: nothing to do" in capsys.readouterr().out.replace("\n", " ")
    assert weights.stat().st_mtime_ns == written
    run = open_run(stopped)
    again = distil.new_student(run)
    objective = distil.Objective(cross_entropy=0.3, on_policy_mask=0.5, on_policy_from=0.0)
    distil.distil(run, run.load("teacher"), again, name="student", objective=objective, steps=STEPS)
    assert torch.equal(again.transformer.wte.weight, load_file(weights)["transformer.wte.weight"])
    stage("student", stopped, restart=True)
    assert weights.stat().st_mtime_ns > written
    stage("student", stopped, steps=2)  # of another configuration: trained in its place, as ever
    assert lines_of(stopped, "student")[-1]["step"] == 2


# --- metrics -------------------------------------------------------------------------------------------------------


def test_a_line_for_every_step(whole):
    lines = [json.loads(line) for line in (whole / "student.metrics.jsonl").read_text().splitlines()]
    history = open_run(whole).numbers()["models"]["student"]["history"]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for line in lines:
        assert line["loss"] == pytest.approx(line["terms"]["distillation"] + 0.5 * line["terms"]["format"])
        assert line["tokens"] >= sum(line["positions"].values()) > 0
        assert line["tokens_per_second"] == pytest.approx(line["tokens"] / line["seconds"])
        assert line["gradient_norm"] > 0
    cosine = [0.55 + 0.45 * math.cos(math.pi * step / STEPS) for step in range(STEPS)]
    assert [line["learning_rate"] for line in lines] == pytest.approx([3e-3 * share for share in cosine])
    looks = [line for line in lines if "scores" in line]
    assert [{"step": line["step"], **line["scores"]} for line in looks] == [
        {key: look[key] for key in look if key != "training_loss"} for look in history
    ]


def test_lines_behind_a_checkpoint_are_taken_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st', encoding="utf-8")
    for step, kept in ((3, [1, 2, 3]), (2, [1, 2]), (9, [1, 2]), (0, [])):
        Metrics(path, step).close()
        assert [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()] == kept


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda losses: losses * math.inf, "test: second is inf at step 1; lower the learning rate"),
        # √ is 0 at 0, and its slope is infinite.
        (lambda losses: (losses * 0).sqrt(), "test: the gradient of second is nan at step 1"),
    ],
)
def test_what_is_not_finite_is_named(spoil, message, con, examples):
    model = tiny()
    before = model.lm_head.weight.clone()
    good = Term("first", EndlessBatches(examples, con, 64, 0), cross_entropy)
    bad = Term("second", EndlessBatches(examples, con, 64, 1), lambda model, batch: spoil(cross_entropy(model, batch)))
    with pytest.raises(DivergenceError, match=message):
        train(model, [good, bad], dict, steps=3, learning_rate=1e-3, title="test")
    assert torch.equal(model.lm_head.weight, before)


# --- several batches, several processes ----------------------------------------------------------------------------


def gradient_by_hand(model, weighted):
    """Of the sum of the terms' means over all positions, in one backward; `weighted`: (weight, loss, batches)."""
    model.zero_grad()
    for weight, loss, batches in weighted:
        losses = torch.cat([loss(model, batch) for batch in batches])
        (weight * losses.mean()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_gradient_is_that_of_the_mean_over_all_positions(accumulate, con, examples):
    model = tiny().double()
    format_of = partial(format_loss, con=con)
    terms = [
        Term("cross-entropy", EndlessBatches(examples, con, 24, 0), cross_entropy),
        Term("format", EndlessBatches(examples, con, 24, 1), format_of, 0.3),
    ]
    batches = [[next(term.stream) for _ in range(accumulate)] for term in terms]
    expected = gradient_by_hand(model, [(1.0, cross_entropy, batches[0]), (0.3, format_of, batches[1])])
    model.zero_grad()
    measured = step_gradient(new_accelerator(), model, terms, batches)
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(found, expected * min(1.0, 1 / expected.norm()))
    assert measured.gradient_norm == pytest.approx(expected.norm().item())
    assert measured.positions["format"] == sum(int(batch.predicts.sum()) for batch in batches[1])


def two_gradients(folder, con, examples):
    """Those of two steps, the second with two batches for each process."""
    for accumulate in (1, 2):
        model = tiny().double()
        accelerator = new_accelerator()
        wrapped = accelerator.prepare(model)
        assert wrapped is not model
        term = Term("cross-entropy", EndlessBatches(examples, con, 24, 0), cross_entropy)
        step_gradient(accelerator, wrapped, [term], [[next(term.stream) for _ in range(accumulate)]])
        torch.save([p.grad for p in model.parameters()], folder / f"{accumulate}-{accelerator.process_index}.pt")


def test_two_processes_have_the_gradient_of_one(con, examples, tmp_path):
    assert in_two_processes(tmp_path, two_gradients, con, examples, start_method="forkserver")
    for accumulate in (1, 2):
        stream, model = EndlessBatches(examples, con, 24, 0), tiny().double()
        expected = gradient_by_hand(model, [(1.0, cross_entropy, [next(stream) for _ in range(2 * accumulate)])])
        for rank in range(2):
            found = torch.cat([gradient.flatten() for gradient in torch.load(tmp_path / f"{accumulate}-{rank}.pt")])
            torch.testing.assert_close(found, expected * min(1.0, 1 / expected.norm()))


def die_before_step(step):
    take = training.learning.optimise._Training.step

    def take_or_die(self, title):
        if self.progress.step + 1 == step:
            die()
        return take(self, title)

    return mock.patch("training.learning.optimise._Training.step", take_or_die)


def stages_of_two(folder, names, killed_before=None):
    with die_before_step(killed_before):
        for name, options in names.items():
            stage("student", folder / name, **options)


def test_stages_in_two_processes(prepared, tmp_path):
    """They learn what one learns of their batches; killed, with samples of their own, they go on bit for bit."""
    plain = {"steps": 3, "on_policy_mask": 0.0}
    for name in ("one", "two", "whole", "killed"):
        shutil.copytree(prepared, tmp_path / name)
    stage("student", tmp_path / "one", accumulate=2, **plain)
    assert in_two_processes(tmp_path, stages_of_two, {"two": plain, "whole": {"steps": 5}}, start_method="forkserver")
    assert not in_two_processes(tmp_path, stages_of_two, {"killed": {"steps": 5}}, 5, start_method="forkserver")
    assert (tmp_path / "killed" / "student.checkpoint" / "3" / "streams_1.pt").exists()
    assert in_two_processes(tmp_path, stages_of_two, {"killed": {"steps": 5}}, start_method="forkserver")
    assert_same(tmp_path / "killed", tmp_path / "whole", "student")
    for one, two in zip(lines_of(tmp_path / "one", "student"), lines_of(tmp_path / "two", "student"), strict=True):
        assert (one["positions"], one["tokens"]) == (two["positions"], two["tokens"])
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
        assert one["gradient_norm"] == pytest.approx(two["gradient_norm"], rel=1e-3)


def half_precision(folder):
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
    torch.set_num_threads(1)
    stage("student", folder, steps=2)


def test_mixed_precision(copied):
    """As `accelerate launch --mixed_precision bf16` asks for it; the weights stay float32."""
    process = processes.Process(target=half_precision, args=(copied,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    half = lines_of(copied, "student")
    weights = load_file(copied / "student" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    stage("student", copied, steps=2, restart=True)
    for line, full in zip(half, lines_of(copied, "student"), strict=True):
        assert line["terms"]["distillation"] != full["terms"]["distillation"]
        assert line["terms"]["distillation"] == pytest.approx(full["terms"]["distillation"], rel=0.02)
