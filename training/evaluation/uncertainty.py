"""How sure a figure is: an interval for a share of one run's samples, mean and deviation over several runs."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple

Z95 = NormalDist().inv_cdf(0.975)


def wilson(share: float, trials: int) -> tuple[float, float]:
    """The 95 % interval of Wilson's score for a share of so many independent trials.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927): the shares p for
    which the one that was found lies within z standard errors, |share - p| ≤ z √(p(1-p)/n). Unlike the textbook's
    share ± z·s it stays within 0 … 1, and is no point where the share is 0 or 1.
    """
    spread = Z95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


class Spread(NamedTuple):
    """One figure, over seeds."""

    values: tuple[float, ...]  # of each seed

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The standard deviation of a sample (n - 1); None of a single one."""
        return stdev(self.values) if len(self.values) > 1 else None


def spread(values: Sequence[float | None]) -> Spread | None:
    """Of the values that are there; None without any."""
    there = tuple(value for value in values if value is not None)
    return Spread(there) if there else None
