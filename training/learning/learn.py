"""What every stage that trains does with its model: train it, keep it in the run, and go on where it was killed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import print
from rich.markup import escape
from transformers import PreTrainedModel

from fastmask.differences import differences
from training.data.examples import Example
from training.evaluation.score import score
from training.learning.checkpoints import Checkpoints
from training.learning.gradients import Term
from training.learning.model_digest import model_digest
from training.learning.optimise import train
from training.learning.processes import new_accelerator, on_main_process, processes
from training.run import Run, read_json, write_json

CHECKPOINT_EVERY = 100  # steps
FINISHED = "training.json"  # in a model's folder: the configuration, written when all else is there


@dataclass(frozen=True)
class Upkeep:
    """How a training is run, beside what is learnt."""

    accumulate: int = 1  # batches of each term in a step, in each process
    checkpoint_every: int = CHECKPOINT_EVERY  # steps; 0: never
    keep_checkpoint: bool = False  # the newest, when the model is finished
    restart: bool = False  # anew, whatever has been begun or finished


UPKEEP = Upkeep()


def learn(
    run: Run,
    name: str,
    model: PreTrainedModel,
    terms: list[Term],
    *,
    title: str,
    steps: int,
    learning_rate: float,
    upkeep: Upkeep,
    heldout: Sequence[Example] | None = None,
    **facts,
) -> PreTrainedModel:
    """Trains `model` in place and keeps it as RUN/`name`, with `facts` in the run's numbers.

    A training that was killed goes on from its checkpoint, and ends as if nothing had happened. A finished one of this
    very configuration is not begun again.

    Args:
        heldout: what the curves are measured on; default: some of the run's held-out examples.

    Raises:
        TrainingError: the checkpoint is of another configuration: facts, data, settings, model or steps.
        StoppedError: by a signal, with a checkpoint written.
    """
    configuration = {
        "settings": vars(run.settings),
        **facts,
        "steps": steps,
        "learning_rate": learning_rate,
        "accumulate": upkeep.accumulate,
        **surroundings(model, terms),
    }
    folder = run.folder / name
    checkpoints = Checkpoints(Path(f"{folder}.checkpoint"), configuration, every=upkeep.checkpoint_every)
    if upkeep.restart:
        on_main_process(lambda: forget(folder, checkpoints))
    if is_finished(run, name, configuration):
        on_main_process(lambda: print(escape(f"{folder} is there, trained with these very settings: nothing to do")))
        model.load_state_dict(run.load(name).state_dict())
    else:
        torch.manual_seed(run.settings.seed + processes().process_index)
        history = train(
            model, terms, lambda: score(model, heldout or run.some_heldout(), run.con),
            steps=steps, learning_rate=learning_rate, title=title, accumulate=upkeep.accumulate,
            metrics=Path(f"{folder}.metrics.jsonl"), checkpoints=checkpoints if upkeep.checkpoint_every else None,
        )  # fmt: skip
        on_main_process(lambda: keep(run, name, model, configuration, title=title, history=history, **facts))
    if upkeep.checkpoint_every and not upkeep.keep_checkpoint:
        on_main_process(checkpoints.remove)
    return model


def surroundings(model: PreTrainedModel, terms: list[Term]) -> dict:
    """What a training depends on beside the numbers it was given: the processes, the data, the model as it begins."""
    return {
        "processes": processes().num_processes,
        "mixed_precision": new_accelerator().mixed_precision,
        "terms": {
            term.name: {"weight": term.weight, "begins": term.begins, "data": term.stream.fingerprint} for term in terms
        },
        "model": {**shape(model), "weights": model_digest(model)},
    }


def keep(run: Run, name: str, model: PreTrainedModel, configuration: dict, **facts) -> None:
    """The model is finished when its configuration lies beside it, and a kill before that costs a few steps at most."""
    finished = run.folder / name / FINISHED
    finished.unlink(missing_ok=True)
    run.keep(name, model, **facts)
    write_json(finished, configuration)


def is_finished(run: Run, name: str, configuration: dict) -> bool:
    finished = run.folder / name / FINISHED
    if not finished.exists() or name not in run.numbers()["models"]:
        return False
    return not differences(read_json(finished), configuration)


def forget(folder: Path, checkpoints: Checkpoints) -> None:
    checkpoints.remove()
    (folder / FINISHED).unlink(missing_ok=True)


def shape(model: PreTrainedModel) -> dict:
    """What its configuration says beyond the defaults; where it came from is left out."""
    said = json.loads(model.config.to_json_string())
    return {key: value for key, value in said.items() if key not in ("_name_or_path", "transformers_version")}
