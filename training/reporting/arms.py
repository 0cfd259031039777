"""Runs next to each other: what differs only in the seed is one arm, with a mean and a deviation for each figure."""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import TrainingError
from training.evaluation.uncertainty import Spread, spread
from training.run import read_numbers


@dataclass(frozen=True)
class Model:
    """An evaluated model of one run."""

    folder: Path  # of the run
    seed: int
    name: str
    facts: dict  # what `numbers.json` knows of it
    before: int  # training steps of the model that it began from

    @property
    def title(self) -> str:
        return self.facts["title"]

    @property
    def curve(self) -> list[dict]:
        """What was seen while it learnt, each with its step, counted from fresh weights on."""
        return [look | {"step": self.before + look["step"]} for look in self.facts["history"]]

    @property
    def steps(self) -> int | None:
        """From fresh weights on; None of a model that was not trained here."""
        return self.curve[-1]["step"] if self.curve else None


@dataclass(frozen=True)
class Group:
    """Runs whose settings are the same but for the seed."""

    name: str  # "" where it is the only one
    folders: tuple[Path, ...]
    seeds: tuple[int, ...]
    settings: dict  # without the seed


@dataclass(frozen=True)
class Arm:
    """One model, in one run or in several that differ in their seeds."""

    number: int  # from 1, in the order of the report
    name: str
    group: str
    models: tuple[Model, ...]

    @property
    def label(self) -> str:
        return f"{self.name} · {self.group}" if self.group else self.name

    @property
    def title(self) -> str:
        return self.models[0].title

    @property
    def steps(self) -> int | None:
        return self.models[0].steps

    def figure(self, *keys: str) -> Spread | None:
        """What stands under these keys in `numbers.json`, over the seeds; None where no run has it."""
        return spread([_under(model.facts, keys) for model in self.models])

    def interval(self, *keys: str) -> tuple[float, float] | None:
        """What stands there, of a single run; over seeds it says nothing, for there is their deviation."""
        return _under(self.models[0].facts, keys) if len(self.models) == 1 else None

    def validity(self, way: str) -> tuple[float, float] | None:
        """The valid share's error bar: a deviation over seeds to either side, of a single run its interval."""
        shares = self.figure("samples", way, "valid")
        if shares is None or shares.deviation is None:
            return self.interval("intervals", way, "valid")
        return max(0.0, shares.mean - shares.deviation), min(1.0, shares.mean + shares.deviation)


def read_arms(folders: Sequence[Path]) -> tuple[list[Group], list[Arm]]:
    """The runs' groups, and their evaluated models as arms: those first whose free samples are valid most often.

    Models are of one arm where name, title and steps are the same, in runs of one group. Two runs with the same
    settings and the same seed differ in something that the settings do not tell, and are of two groups.

    Raises:
        TrainingError: a folder without a run, or runs without any evaluated model.
    """
    found: dict[tuple[str, int], list[tuple[Path, dict]]] = defaultdict(list)
    met: dict[str, int] = defaultdict(int)
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        numbers = read_numbers(folder)
        settings = json.dumps(_without_seed(numbers["settings"]))
        met[json.dumps(numbers["settings"])] += 1
        found[settings, met[json.dumps(numbers["settings"])]].append((folder, numbers))
    groups = _named(list(found.values()))

    arms: list[Arm] = []
    for group, runs in zip(groups, found.values(), strict=True):
        same: dict[tuple, list[Model]] = defaultdict(list)
        for folder, numbers in runs:
            for model in evaluated_models(folder, numbers):
                same[model.name, model.title, model.steps].append(model)
        arms += [Arm(0, name, group.name, tuple(models)) for (name, _, _), models in same.items()]
    if not arms:
        raise TrainingError(f"{folders[0]} holds no evaluated model: python -m training.evaluate {folders[0]}")
    arms.sort(key=lambda arm: (-arm.figure("samples", "free", "valid").mean, arm.figure("scores", "invalid_mass").mean))
    return groups, [Arm(i, arm.name, arm.group, arm.models) for i, arm in enumerate(arms, start=1)]


def evaluated_models(folder: Path, numbers: dict) -> list[Model]:
    known = numbers["models"]
    return [
        Model(folder, numbers["settings"]["seed"], name, facts, steps_before(known, name))
        for name, facts in known.items()
        if {"scores", "samples"} <= set(facts)
    ]


def steps_before(known: dict[str, dict], name: str) -> int:
    """The steps of the models that a fine-tuned one goes on from."""
    steps, met = 0, {name}
    while (name := known[name].get("start")) in known and name not in met:
        met.add(name)
        steps += known[name]["history"][-1]["step"] if known[name]["history"] else 0
    return steps


def common_folder(folders: Sequence[Path]) -> Path:
    """The folder that holds all; of a single one itself."""
    return Path(os.path.commonpath([folder.resolve() for folder in folders]))


def settings_that_differ(groups: Sequence[Group]) -> list[str]:
    keys = dict.fromkeys(key for group in groups for key in group.settings)
    return [key for key in keys if len({json.dumps(group.settings.get(key)) for group in groups}) > 1]


def _named(groups: list[list[tuple[Path, dict]]]) -> list[Group]:
    """Named after the folder that a group's runs have in common, as far up as it takes to tell them apart."""
    common = [common_folder([folder for folder, _ in runs]) for runs in groups]
    names = [path.name for path in common]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in common]
    if len(set(names)) < len(names):
        names = [", ".join(folder.name for folder, _ in runs) for runs in groups]
    return [
        Group(
            name=name if len(groups) > 1 else "",
            folders=tuple(folder for folder, _ in runs),
            seeds=tuple(numbers["settings"]["seed"] for _, numbers in runs),
            settings=_without_seed(runs[0][1]["settings"]),
        )
        for name, runs in zip(names, groups, strict=True)
    ]


def _without_seed(settings: dict) -> dict:
    return {key: value for key, value in settings.items() if key != "seed"}


def _under(facts: dict, keys: Sequence[str]):
    for key in keys:
        if not isinstance(facts, dict) or facts.get(key) is None:
            return None
        facts = facts[key]
    return facts
