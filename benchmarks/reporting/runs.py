"""A kept run, read again: the JSON file that `python -m benchmarks --out` and `benchmarks.instructions` write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import typer

from benchmarks.harness import Finding, Measurement, Spread

RESULTS = Path(__file__).resolve().parent.parent / "results"
OURS = "fastmask"  # stands in the name of every contender of our own
# Settings that say of what a group's lines speak: where they differ, the same name is another line. Runs without
# `schema_seconds` timed as "fastmask" the sample's regexes, which is "fastmask, from regex" since, of all schemas.
SAMPLES = {"schemas": ("schemas", "schema_seconds")}

Line = Measurement | Finding


@dataclass(frozen=True)
class Run:
    """One run; or several as one, where the last that measured a group counts."""

    names: list[str]  # of the files
    machine: dict[str, Any]
    settings: dict[str, Any]
    findings: list[Finding]
    measurements: list[Measurement]

    @classmethod
    def read(cls, path: str | Path) -> Run:
        """Raises ``typer.BadParameter``: no such file, or none of a run."""
        path = Path(path)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                [path.name],
                _machine(record["machine"]),
                record["settings"],
                [_finding(line) for line in record["findings"]],
                [_measurement(line) for line in record["measurements"]],
            )
        except OSError as error:
            raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise typer.BadParameter(
                f"{path} is no run's file, as `python -m benchmarks --out` writes it: {type(error).__name__} {error}"
            ) from error

    @classmethod
    def together(cls, runs: Sequence[Run]) -> Run:
        """The machine and the settings are those of the first."""
        findings, measurements = [], []
        for i, run in enumerate(runs):
            newer = {group_of(line) for other in runs[i + 1 :] for line in (*other.findings, *other.measurements)}
            findings += [line for line in run.findings if group_of(line) not in newer]
            measurements += [line for line in run.measurements if group_of(line) not in newer]
        names = [name for run in runs for name in run.names]
        return cls(names, runs[0].machine, runs[0].settings, findings, measurements)

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.machine["time"])

    def sample_of(self, line: Line) -> str:
        """What a line speaks of beyond its names: of two runs, only lines with the same sample are the same."""
        return ", ".join(f"{name} {self.settings.get(name)}" for name in SAMPLES.get(group_of(line), ()))

    def found(self, target: str, workload: str) -> Iterator[Finding]:
        """The findings of a target whose workload is of this pattern (``*`` for anything)."""
        return (line for line in self.findings if line.target == target and fnmatchcase(line.workload, workload))

    def measured(self, group: str, workload: str, contender: str = "*") -> Iterator[Measurement]:
        """A group's lines, workload and contender of these patterns."""
        for line in self.measurements:
            if line.group == group and fnmatchcase(line.workload, workload) and fnmatchcase(line.contender, contender):
                yield line


def group_of(line: Line) -> str:
    return line.group if isinstance(line, Measurement) else line.target.split(".")[0]


def is_ours(contender: str) -> bool:
    return OURS in contender


def engine_of(contender: str) -> str:
    """xgrammar, mask and accept → xgrammar."""
    return contender.split(",")[0]


def ratio(one: Measurement, other: Measurement) -> float:
    """How many times the other's ``one`` is: by the ratios taken within the rounds, where there are any."""
    if one.ratio or other.ratio:
        return (one.ratio.median if one.ratio else 1.0) / (other.ratio.median if other.ratio else 1.0)
    return one.value.median / other.value.median


def _machine(record: dict[str, Any]) -> dict[str, Any]:
    """As it is, if it tells when and with what it was measured."""
    datetime.fromisoformat(record["time"])
    dict(record["packages"])
    return record


def _spread(record: dict[str, float]) -> Spread:
    return Spread(record["minimum"], record["q1"], record["median"], record["q3"], record.get("maximum"))


def _finding(record: dict[str, Any]) -> Finding:
    return Finding(record["target"], record["workload"], _spread(record["value"]), record["best"])


def _measurement(record: dict[str, Any]) -> Measurement:
    within = None if record["ratio"] is None else _spread(record["ratio"])
    names = (record[key] for key in ("group", "workload", "contender", "unit"))
    return Measurement(*names, _spread(record["value"]), within)
