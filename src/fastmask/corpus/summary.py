"""What became of a corpus's records: counts that add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fastmask.corpus.records import Place, Problem, Records

__all__ = ["Summary", "tokens_of", "verdicts_of"]

LISTED = 100  # problems that are kept; the others are counted


@dataclass
class Summary:
    """Counts of records; ``read == written + skipped`` holds at every moment."""

    read: int = 0
    """Records of the corpus, broken ones among them."""
    written: int = 0
    """Rows that were written."""
    skipped: int = 0
    """Broken records that were left out."""
    errors: int = 0
    """Records that could not be read or judged, left out or written with what is wrong with them."""
    tokens: int = 0
    """The lengths of ``input_ids`` together; 0 where there is no such column."""
    verdicts: Counter[str] = field(default_factory=Counter)
    """Rows of each of the verdicts, which add up to ``written``; none where there is no such column."""
    shards: int = 0
    """Files that hold the rows."""
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with the first 100 of the ``errors``."""

    def count(self, records: Records, written: pa.Table, problems: Sequence[Problem]) -> None:
        """Adds a batch, what was written of it, and what was wrong with its records."""
        self.read += records.read
        self.written += written.num_rows
        self.skipped += records.read - written.num_rows
        self.tokens += tokens_of(written)
        self.verdicts += verdicts_of(written)
        self._add_problems(len(problems), problems)

    def add(self, other: Summary) -> None:
        """Adds what became of other records, such as those of a shard."""
        self.read += other.read
        self.written += other.written
        self.skipped += other.skipped
        self.tokens += other.tokens
        self.verdicts += other.verdicts
        self.shards += other.shards
        self._add_problems(other.errors, other.problems)

    def to_json(self) -> dict[str, Any]:
        """JSON values from which :meth:`from_json` makes it again."""
        return {**asdict(self), "verdicts": dict(self.verdicts)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Summary:
        """What :meth:`to_json` gave."""
        problems = [Problem(Place(*place), message) for place, message in values["problems"]]
        return cls(**{**values, "verdicts": Counter(values["verdicts"]), "problems": problems})

    def _add_problems(self, errors: int, problems: Any) -> None:
        self.errors += errors
        self.problems.extend(problems[: LISTED - len(self.problems)])


def verdicts_of(table: pa.Table) -> Counter[str]:
    """How many rows have each of the verdicts; none where there is no such column."""
    if "verdict" not in table.column_names:
        return Counter()
    return Counter({count["values"]: count["counts"] for count in pc.value_counts(table["verdict"]).to_pylist()})


def tokens_of(table: pa.Table) -> int:
    """The lengths of ``input_ids`` together; 0 where there is no such column."""
    if "input_ids" not in table.column_names:
        return 0
    return int(pc.sum(pc.list_value_length(table["input_ids"])).as_py() or 0)
