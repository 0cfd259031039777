"""The trees that the papers show, against the files that git knows: nothing is missing, and nothing is made up."""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAPERS = (
    "README.md",
    "CONTRIBUTING.md",
    "DESIGN.md",
    "training/README.md",
    "benchmarks/README.md",
    "examples/README.md",
)
NAMES_END = 26  # columns of names in DESIGN.md's tree; what they are follows
UNNAMED = {
    "__init__.py",
    "__main__.py",
    "py.typed",
    "_core.pyi",
}  # every package has them, and nobody asks what they are


def text(paper: str) -> str:
    return (ROOT / paper).read_text(encoding="utf-8")


def fenced(paper: str, heading: str) -> str:
    """The block of code that follows a heading."""
    return re.search(rf"^{heading}\n+```\n(.*?)^```", text(paper), re.MULTILINE | re.DOTALL)[1]


def house() -> dict[str, set[str]]:
    """DESIGN.md's tree: the names shown in each folder; a folder's own end in a slash."""
    shown: dict[str, set[str]] = {}
    for line in fenced("DESIGN.md", "## The house").splitlines():
        if not line.startswith(" "):
            names = shown[line.split()[0]] = set()
        elif line[2] != " ":
            names |= set(re.findall(r"[^\s,]+", line[2 : NAMES_END + 1]))
    return shown


def ranks(folder: str) -> dict[str, int]:
    """DESIGN.md's tree: the line of each name shown in a folder."""
    lines = fenced("DESIGN.md", "## The house").partition(folder)[2].splitlines()
    return {name: i for i, line in enumerate(lines) for name in re.findall(r"[^\s,]+", line[2 : NAMES_END + 1])}


def within(folder: str, tracked: set[str]) -> set[str]:
    """Names in a folder: of files, and of folders with a slash."""
    rest = (name.removeprefix(folder) for name in tracked if name.startswith(folder))
    return {name if "/" not in name else f"{name.partition('/')[0]}/" for name in rest}


def stands_for(shown: str, name: str) -> bool:
    """A module is shown without its suffix."""
    return fnmatchcase(name, shown) or name == f"{shown}.py"


@pytest.mark.parametrize("folder", ["csrc/", "src/fastmask/"])
def test_the_house_is_the_tree(folder, tracked):
    shown, found = house()[folder], within(folder, tracked) - UNNAMED
    assert len(shown) > 20
    assert not {name for name in shown if not any(stands_for(name, file) for file in found)}, "shown, and not there"
    assert not {file for file in found if not any(stands_for(name, file) for name in shown)}, "there, and not shown"


def test_the_arrows_of_the_kernel_run_downwards(tracked):
    """A file includes what stands on its own line of DESIGN.md's tree or below."""
    ranked = ranks("csrc/")

    def rank(file: str) -> int:
        (name,) = within("csrc/", {file})
        return next(line for shown, line in ranked.items() if fnmatchcase(name, shown))

    sources = sorted(name for name in tracked if name.startswith("csrc/") and name.endswith((".cc", ".h")))
    upwards = []
    for source in sources:
        for target in re.findall(r'^#include "(.+)"', text(source), re.MULTILINE):
            included = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
            assert included in tracked
            if rank(included) < rank(source):
                upwards.append(f"{source} → {included}")
    assert not upwards


def test_readme_says_what_is_where(tracked):
    lines = fenced("README.md", "## What is where").splitlines()
    shown = {line.split()[0] for line in lines if not line.startswith(" ")}
    files, folders = {name for name in shown if name[-1] != "/"}, {name.partition("/")[0] for name in shown}
    assert files <= tracked
    assert folders - files == {name[:-1] for name in within("", tracked) if name[-1] == "/" and name[0] != "."}


def test_the_rooms_of_training_are_its_files(tracked):
    """The tables of training/README.md: the first is of the programs in front, each other of a folder behind them."""
    shown: set[str] = set()
    folder = None
    for line in text("training/README.md").partition("## The rooms")[2].partition("\n## ")[0].splitlines():
        names = re.findall(r"`([^`]+)`", line.split("|")[1]) if line.startswith("|") else []
        if line.startswith("| file |"):
            folder = "training/"
        elif names and folder and names[0].endswith("/") and names[0] != "treebank/":
            folder = f"training/{names[0]}"
        else:
            shown |= {f"{folder}{name}" for name in names}
    assert shown <= tracked | {"training/treebank/"}
    sources = {
        name for name in tracked if name.startswith("training/") and Path(name).suffix in (".py", ".css", ".html")
    }
    assert {name for name in sources if Path(name).name not in UNNAMED} == shown - {"training/treebank/"}


@pytest.mark.parametrize("paper", PAPERS)
def test_every_file_that_a_paper_names_is_there(paper, tracked):
    """Links, and whatever begins with one of our folders."""
    home = posixpath.dirname(paper)
    linked = [
        posixpath.normpath(posixpath.join(home, target))
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text(paper))
    ]
    folders = "|".join(re.escape(name) for name in within("", tracked) if name.endswith("/"))
    named = re.findall(rf"`((?:{folders})[^`\s]*)`", text(paper))
    there = tracked | {parent.as_posix() for name in tracked for parent in Path(name).parents}
    missing = [name for name in linked + named if not any(fnmatchcase(file, name.rstrip("/")) for file in there)]
    assert not missing


def test_no_file_is_of_two_kinds(tracked):
    """A module and a folder of one name would hide each other."""
    assert not {name for name in tracked if name.endswith(".py") and f"{name[:-3]}/__init__.py" in tracked}
