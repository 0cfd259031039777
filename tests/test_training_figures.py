"""docs/training.md's tables say what the kept experiments say."""

import json
import re
import statistics
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
TABLES = re.findall(
    r"<!-- (training/results\S*\.json) -->\n\n((?:\|.*\n)+)", (DOCS / "training.md").read_text(encoding="utf-8")
)
FIGURES = {  # by column, in per cent
    "valid, free": lambda arm: arm["samples"]["free"]["valid"],
    "free, greedy": lambda arm: arm["samples"]["free, greedy"]["valid"],
    "mass on disallowed": lambda arm: arm["scores"]["invalid_mass"],
    "tags right": lambda arm: arm["scores"]["tag_accuracy"],
}


def rows(table):
    heading, _, *lines = ([cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines())
    return [dict(zip(heading, line, strict=True)) for line in lines]


@pytest.mark.parametrize(("file", "table"), TABLES, ids=[file for file, _ in TABLES])
def test_each_row_is_the_mean_over_its_seeds(file, table):
    runs = json.loads((DOCS / file).read_text(encoding="utf-8"))["runs"].values()
    for row in rows(table):
        arms = [run["arms"][row["arm"]] for run in runs if row["arm"] in run["arms"]]
        assert len(arms) == int(row["n"])
        steps = {sum(stage["steps"] for stage in stages(row["arm"], run)) for run in runs if row["arm"] in run["arms"]}
        assert steps == {int(row["steps"].replace(",", ""))}
        for column, figure in FIGURES.items():
            said, _, deviation = row[column].partition(" ± ")
            said, *_ = said.split()
            found = [100 * figure(arm) for arm in arms]
            assert float(said) == pytest.approx(statistics.mean(found), abs=0.51 * unit(said)), (row["arm"], column)
            if deviation:
                spread = statistics.stdev(found)
                assert float(deviation) == pytest.approx(spread, abs=0.51 * unit(deviation)), (row["arm"], column)


def stages(name, run):
    """The arm, and what it began with."""
    while name:
        yield (arm := run["arms"][name])
        name = arm.get("start")


def unit(figure: str) -> float:
    """Of its last digit."""
    return 10.0 ** -len(figure.partition(".")[2])


def test_there_are_tables():
    assert {file for file, _ in TABLES} == {str(path.relative_to(DOCS)) for path in DOCS.glob("training/*.json")}
