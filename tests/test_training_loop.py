"""The loop: killed and begun again, in several processes, in larger steps; its metrics; what it refuses."""

import json
import math
import multiprocessing
import os
import shutil
import signal
from functools import partial

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("conllu")

from safetensors.torch import load_file

import training.checkpoints
import training.learn
from tests.training_kit import EOS, con, examples, one_thread, tiny, treebank
from training import distil, finetune, prepare, teacher
from training.errors import DivergenceError, StoppedError, TrainingError
from training.gradients import Term, step_gradient
from training.learn import Upkeep
from training.losses import cross_entropy, format_loss
from training.metrics import Metrics
from training.models import tiny_gpt2
from training.on_policy import OwnSamples
from training.optimise import train
from training.processes import new_accelerator
from training.program import program
from training.run import open_run
from training.streams import EndlessBatches

STEPS = 8
OFTEN = {"steps": STEPS, "checkpoint_every": 3}
STAGES = {
    "teacher": partial(teacher.main, **OFTEN),
    "student": partial(distil.main, **OFTEN, ce=0.3, on_policy_mask=0.5),
    "finetuned": partial(finetune.main, **OFTEN, fresh=True, on_policy_mask=0.5),
}


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
        STAGES[name](folder)
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


def in_a_process(stage, folder, moment):
    """In a process of its own, that is killed in the middle: behind a step, or while it writes."""
    torch.set_num_threads(1)
    if moment == "saving":
        training.checkpoints.write_json = die
    elif moment == "keeping":
        training.learn.write_json = die
    else:
        Metrics.write = at_step(moment, die)
    STAGES[stage](folder)


@pytest.mark.parametrize(
    ("stage", "moments"),
    # Before the first checkpoint; behind it, and again; while one is written; when all is done but to say so.
    [("teacher", [2, "saving"]), ("student", [5, "saving", "keeping"]), ("finetuned", [4, 7])],
)
def test_killed_and_begun_again_is_as_if_nothing_had_happened(stage, moments, whole, copied):
    for moment in moments:
        process = processes.Process(target=in_a_process, args=(stage, copied, moment))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    STAGES[stage](copied)
    assert_same(copied, whole, stage)
