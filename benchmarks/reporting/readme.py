"""The README's table, written from kept runs: `python -m benchmarks.reporting.readme [--check] [RESULTS.json …]`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.reporting.comparison import read_together
from benchmarks.reporting.picks import TOKENIZERS, Figure
from benchmarks.reporting.rows import Row, all_rows
from benchmarks.reporting.runs import RESULTS, Run

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(
    r"<!-- benchmarks: (?P<names>[^>]*); `make bench-readme` writes this -->\n(?P<table>.*?)<!-- end -->", re.S
)
HEAD = ["", *TOKENIZERS.values(), "`python -m benchmarks …`"]
PLOT = "![The time of one position's mask, by engine](docs/benchmarks/latency.svg)"


def main(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Kept runs in benchmarks/results: of a group in several, the last counts. Default: those named."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Write nothing; exit with 1 if the table is not what the runs say.")
    ] = False,
    readme: Annotated[Path, typer.Option(help="The page with the block.", exists=True, dir_okay=False)] = README,
) -> None:
    """Put the table between the markers, from the runs given or from those that the block names."""
    text = readme.read_text(encoding="utf-8")
    block = BLOCK.search(text)
    if block is None:
        raise typer.BadParameter(f"{readme} has no block of the form {BLOCK.pattern!r}")
    paths = results or [RESULTS / name for name in block["names"].split()]
    for path in paths:
        if path.resolve().parent != RESULTS:
            raise typer.BadParameter(f"{path} is not kept: the README may only cite runs in {RESULTS}")
    lines, left_out = table(read_together(paths))
    for what in left_out:
        print(f"left out, because the runs have no such figures: {what}", file=sys.stderr)
    written = f"{text[: block.start()]}{framed(paths, lines)}{text[block.end() :]}"
    if check and written != text:
        print(f"{readme}: the table is not what {block['names']} say; `make bench-readme` writes it", file=sys.stderr)
        raise typer.Exit(1)
    if not check:
        readme.write_text(written, encoding="utf-8")


def framed(paths: list[Path], lines: list[str]) -> str:
    names = " ".join(path.name for path in paths)
    return "\n".join([f"<!-- benchmarks: {names}; `make bench-readme` writes this -->", "", *lines, "", "<!-- end -->"])


def table(run: Run) -> tuple[list[str], list[str]]:
    """(lines of Markdown, what was left out because the run has no figures for it)."""
    lines, left_out = [line_of(HEAD), "|" + "---|" * len(HEAD)], []
    for row in all_rows(run):
        cells = row.cells(run)
        if any(cells.values()):
            command = f"`{row.group}`" if row.group else ""
            lines.append(line_of([labelled(row, cells), *map(row.form.cell, cells.values()), command]))
        else:
            left_out.append(row.what)
    if any(line.group == "latency" for line in run.measurements):
        lines += ["", PLOT]
    return lines, left_out


def line_of(cells: list[str]) -> str:
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|"


def labelled(row: Row, cells: dict[str, list[Figure]]) -> str:
    """Names the engines that the figures speak of: xgrammar; llguidance for Llama-3."""
    tokenizers: dict[str, list[str]] = {}
    for tokenizer, cell in cells.items():
        engines = " / ".join(dict.fromkeys(figure.engine for figure in cell))
        if cell:
            tokenizers.setdefault(engines, []).append(TOKENIZERS[tokenizer])
    first, *others = tokenizers
    named = [first, *(f"{engines} for {' and '.join(tokenizers[engines])}" for engines in others)]
    return row.what.format(engines="; ".join(named))


if __name__ == "__main__":
    typer.run(main)
