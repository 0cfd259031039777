"""Race contenders against each other, round by round, and keep what was seen.

A shared machine drifts by tens of per cent within a minute. So contenders take turns (A, B, A, B, …), a ratio is
taken within a round, where both met the same machine, and the median over the rounds is reported with its spread.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import fastmask as fm
from benchmarks.targets import TARGETS
from fastmask.whole_file import write_whole

PACKAGES = (
    *("fastmask", "outlines_core", "outlines", "xgrammar", "llguidance", "lm-format-enforcer", "liger_kernel"),
    *("numpy", "torch", "transformers"),
)


# ---- timing ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contender:
    """Something to time. ``run`` does ``units`` of work; ``before`` is called outside the timed region."""

    run: Callable[[], object]
    units: int = 1
    before: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Settings:
    """How long to measure, and how much of each workload."""

    rounds: int = 11
    seconds: float = 0.005  # a timed region lasts at least this long; a clock tick must not matter
    answers: int = 32  # of the treebank, for every contender that reads one answer after another
    schemas: int | None = 200  # of the schema sample; None = all
    schema_seconds: float = 45.0  # that one engine may spend on them
    patience: float = 5.0  # seconds for a first look at what a peer makes of a workload
    quick: bool = False

    @classmethod
    def for_correctness(cls) -> Settings:
        return cls(rounds=2, seconds=0.0, answers=4, schemas=6, schema_seconds=5.0, patience=0.5, quick=True)


@dataclass(frozen=True)
class Spread:
    """A sample's quartiles. The minimum is what the machine does when nobody disturbs it."""

    minimum: float
    q1: float
    median: float
    q3: float
    maximum: float | None = None  # runs kept from before it was measured have none

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else [*samples] * 3
        return cls(min(samples), q1, median, q3, max(samples))


@dataclass(frozen=True)
class Race:
    """Seconds per unit of every contender in every round."""

    seconds: dict[str, list[float]]

    def spread(self, name: str) -> Spread:
        return Spread.of(self.seconds[name])

    def ratio(self, other: str, ours: str) -> Spread:
        """How many times longer ``other`` takes than ``ours``, round by round."""
        return Spread.of([a / b for a, b in zip(self.seconds[other], self.seconds[ours], strict=True)])

    def ratio_of_best(self, other: str, ours: str) -> float:
        return min(self.seconds[other]) / min(self.seconds[ours])

    def fastest(self, names: Sequence[str]) -> str:
        return min(names, key=lambda name: self.spread(name).median)


def race(contenders: dict[str, Contender], settings: Settings) -> Race:
    """Warm each up, find how often to repeat it, then let all take turns."""
    repeats = {name: _repeats(contender, settings.seconds) for name, contender in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(settings.rounds):
        for name, contender in contenders.items():
            seconds[name].append(_time(contender, repeats[name]) / (repeats[name] * contender.units))
    return Race(seconds)


def _repeats(contender: Contender, seconds: float) -> int:
    _time(contender, 1)  # warm-up: caches, lazily filled tables, page faults
    return max(1, min(100_000, round(seconds / _time(contender, 1))))


def _time(contender: Contender, repeats: int) -> float:
    contender.before()
    collecting = gc.isenabled()
    gc.disable()
    try:
        begin = time.perf_counter()
        for _ in range(repeats):
            contender.run()
        return time.perf_counter() - begin
    finally:
        if collecting:
            gc.enable()


# ---- what was seen --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurement:
    """One line of a group's table."""

    group: str
    workload: str
    contender: str
    unit: str
    value: Spread
    ratio: Spread | None = None  # of this contender's time to fastmask's, within the rounds


@dataclass(frozen=True)
class Finding:
    """A figure that has a target."""

    target: str  # a key of TARGETS
    workload: str
    value: Spread
    best: float | None = None  # a ratio once more, of the best times: what an idle machine would show

    @property
    def reached(self) -> bool:
        return TARGETS[self.target].reached(self.value.median)


@dataclass
class Report:
    """Collects what the groups measure; ``note`` is for everything that was left out, and why."""

    settings: Settings
    measurements: list[Measurement] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, object] = field(default_factory=lambda: machine())  # as it was before the first race

    def race(
        self,
        group: str,
        workload: str,
        unit: str,
        contenders: dict[str, Contender],
        ours: str | None = None,
        rounds: int = 1,
    ) -> Race:
        """Time the contenders and keep a line for each.

        Args:
            ours: what the others are compared with.
            rounds: so many times the settings' number of them.
        """
        result = race(contenders, replace(self.settings, rounds=rounds * self.settings.rounds))
        self.keep(group, workload, unit, result, ours)
        return result

    def keep(self, group: str, workload: str, unit: str, result: Race, ours: str | None) -> None:
        """A line for each contender of a race that was run."""
        for name in result.seconds:
            ratio = None if ours in (None, name) else result.ratio(name, ours)
            self.measurements.append(Measurement(group, workload, name, unit, result.spread(name), ratio))

    def measure(self, group: str, workload: str, contender: str, unit: str, samples: Sequence[float]) -> None:
        self.measurements.append(Measurement(group, workload, contender, unit, Spread.of(samples)))

    def find(self, target: str, workload: str, value: Spread | float, best: float | None = None) -> None:
        spread = value if isinstance(value, Spread) else Spread.of([value])
        self.findings.append(Finding(target, workload, spread, best))

    def find_ratio(self, target: str, workload: str, result: Race, other: str, ours: str) -> None:
        self.find(target, workload, result.ratio(other, ours), result.ratio_of_best(other, ours))

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "machine": self.machine,
            "settings": asdict(self.settings),
            "findings": [
                {**asdict(finding), **asdict(TARGETS[finding.target]), "reached": finding.reached}
                for finding in self.findings
            ],
            "measurements": [asdict(measurement) for measurement in self.measurements],
            "notes": self.notes,
        }
        write_whole(path, f"{json.dumps(_rounded(record), ensure_ascii=False, indent=1)}\n".encode())


def _rounded(value: object) -> object:
    """Floats to four significant digits: more would be noise in the file."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def machine() -> dict[str, object]:
    """What a reader needs to know before comparing two files."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": fm.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return fm.__version__ if package == "fastmask" else None
