"""Two runs line by line: what became faster, what slower, and what says nothing."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.harness import Measurement, Spread
from benchmarks.reporting.runs import Run, is_ours

Verdict = Literal["faster", "slower", "no difference", "no spread"]

COUNTED = 0.01  # the change by which instructions, bytes and shares differ: they hardly move from run to run
MORE_IS_BETTER = ("of all",)  # units; of times, bytes and counts, less is
SAME = ("cpu", "cores", "threads", "platform", "python")  # what two machines must share to be called one


@dataclass(frozen=True)
class Change:
    """One line in both runs.

    ``times``: values in the line's unit, which are the machine's as well as the program's.
    ``ratios``: a peer's time to ours within each run, in which the machine cancels; faster = we are, beside the peer.
    """

    kind: Literal["times", "ratios"]
    group: str
    workload: str
    contender: str
    unit: str
    before: Spread
    after: Spread
    verdict: Verdict

    @property
    def ratio(self) -> float:
        """Of the medians, the second run's to the first's."""
        return self.after.median / self.before.median if self.before.median else math.inf

    @property
    def size(self) -> float:
        """Two halvings are as much as two doublings."""
        return abs(math.log(self.ratio)) if 0 < self.ratio < math.inf else math.inf

    @property
    def ours(self) -> bool:
        """Is it fastmask that the verdict is on?"""
        return self.kind == "ratios" or is_ours(self.contender)


def compare(a: Run, b: Run) -> list[Change]:
    """All lines that both runs have, the largest changes first."""
    before, after = _by_name(a), _by_name(b)
    changes = [change for name in before if name in after for change in _changes(before[name], after[name])]
    return sorted(changes, key=lambda change: -change.size)


def read_together(paths: Sequence[Path]) -> Run:
    """Several files as one run; in what they differ from the first is told on standard error."""
    first, *others = runs = [Run.read(path) for path in paths]
    for other in others:
        for difference in differences(first, other):
            print(f"{other.names[0]} differs from {first.names[0]} in {difference}", file=sys.stderr)
    return Run.together(runs)


def in_one_alone(a: Run, b: Run) -> list[str]:
    """How many lines of which groups only one of two runs has: what is not compared."""
    first, second = _by_name(a), _by_name(b)
    groups = Counter(group for group, *_ in {*first} ^ {*second})
    return [f"{count} of {group}" for group, count in sorted(groups.items())]


def differences(a: Run, b: Run) -> list[str]:
    """Why the times of two runs may differ for reasons that are not the program's."""
    first, second = a.machine["packages"], b.machine["packages"]
    found = [("machine, ", name, a.machine.get(name), b.machine.get(name)) for name in SAME]
    found += [("package ", name, first.get(name), second.get(name)) for name in sorted({*first, *second})]
    found += [
        ("setting ", name, a.settings.get(name), b.settings.get(name)) for name in sorted({*a.settings, *b.settings})
    ]
    return [f"{kind}{name}: {one} and {other}" for kind, name, one, other in found if one != other]


def _by_name(run: Run) -> dict[tuple[str, ...], Measurement]:
    return {
        (line.group, line.workload, line.contender, line.unit, run.sample_of(line)): line for line in run.measurements
    }


def _changes(a: Measurement, b: Measurement) -> Iterator[Change]:
    names = a.group, a.workload, a.contender, a.unit
    timed = a.unit.split("/")[0] == "s"
    if timed and (a.value.q1 == a.value.q3 or b.value.q1 == b.value.q3):
        verdict: Verdict = "no spread"  # one sample: nobody knows what it would be the next time
    else:
        verdict = _verdict(a.value, b.value, a.unit not in MORE_IS_BETTER, margin=0.0 if timed else COUNTED)
    yield Change("times", *names, a.value, b.value, verdict)
    if a.ratio and b.ratio and not is_ours(a.contender):
        yield Change("ratios", *names, a.ratio, b.ratio, _verdict(a.ratio, b.ratio, less_is_better=False))


def _verdict(a: Spread, b: Spread, less_is_better: bool, margin: float = 0.0) -> Verdict:
    """A difference is one where the quartiles do not overlap."""
    fell, rose = b.q3 < a.q1 * (1 - margin), b.q1 > a.q3 * (1 + margin)
    if not (fell or rose):
        return "no difference"
    return "faster" if fell == less_is_better else "slower"
