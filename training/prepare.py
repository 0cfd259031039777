"""Texts and answers, tokenizer, schema → a run: every answer is checked before anything is trained."""

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich import print
from rich.markup import escape

import fastmask as fm
from fastmask.cli.loading import load_schema
from fastmask.differences import differences
from training.data.records import Record
from training.data.sift import NOT_SPELLED, REFUSED, TOO_LONG
from training.data.tokenizer import add_pad, load_tokenizer, require_same_tokens, train_bpe
from training.errors import TrainingError
from training.learning.models import context_length, device, load_config, logit_width
from training.program import Heldout, MaxLength, Restart, Seed, Tokenizer, Treebank, program
from training.run import (
    LEFT_OUT,
    NUMBERS,
    Run,
    Settings,
    build,
    numbers_lock,
    read_numbers,
    throw_away,
    write_json,
)
from training.schema import TAGGING

OWN_TREEBANK = Path(__file__).parent / "treebank"
MAX_LENGTH = 512


def prepare(
    out: Path,
    *,
    treebank: list[str] | None = None,
    jsonl: list[str] | None = None,
    schema: str | None = None,
    heldout: list[str] | None = None,
    tokenizer: str | None = None,
    teacher: str | None = None,
    max_length: int = MAX_LENGTH,
    seed: int = 0,
    restart: bool = False,
) -> Run:
    """Starts a run in the folder `out`. A named teacher brings its tokenizer and the width of its logits.

    A run of these very settings keeps its models and their numbers, unless it is to `restart`.

    Raises:
        TrainingError: `out` holds a run of other settings; the data, the schema or the models named do not do.
    """
    require_one_task(treebank, jsonl, schema)
    load_schema(schema or TAGGING)  # to find out now what cannot be imported
    if not treebank and not jsonl:
        treebank = [str(OWN_TREEBANK / "train.conllu")]
        heldout = heldout or [str(OWN_TREEBANK / "dev.conllu")]
    settings = Settings(
        treebank or [], heldout or [], tokenizer or teacher or "trained on the text", 0, max_length, seed,
        jsonl or [], schema or TAGGING,
    ).from_the_root()  # fmt: skip
    training, held_out = settings.read_and_split()
    if tokenizer or teacher:
        loaded = load_tokenizer(tokenizer or teacher)
    else:
        loaded = train_bpe(text for record in training for text in (record.text, record.answer))
    add_pad(loaded)
    width, max_length = room(fm.Vocabulary.from_tokenizer(loaded).size, max_length, teacher)
    settings = replace(settings, width=width, max_length=max_length)
    if restart:
        throw_away(out)
    if known := run_kept(out, settings):  # refused before anything is written
        settings = Settings(**known["settings"])
        training, held_out = settings.read_and_split()
    loaded.save_pretrained(out / "tokenizer")  # makes the folder, too
    run = build(out, settings, training, held_out)
    if teacher and tokenizer:
        require_same_tokens(teacher, run.vocab)
    write_left_out(run)
    counts = count(run, training + held_out)
    report_counts(run, counts)
    run.require_both_sides()
    with numbers_lock(out):
        models = run_kept(out, settings).get("models", {})
        write_json(out / NUMBERS, {"settings": vars(settings), "data": counts, "models": models})
    return run


def room(width: int, max_length: int, teacher: str | None) -> tuple[int, int]:
    """(Columns of the logits, tokens of the longest example), as wide as a teacher's and no longer than it reads."""
    if not teacher:
        return width, max_length
    config = load_config(teacher)
    return max(width, logit_width(config)), min(max_length, context_length(config) or max_length)


def write_left_out(run: Run) -> None:
    lines = [json.dumps(asdict(left_out), ensure_ascii=False) for left_out in run.left_out]
    (run.folder / LEFT_OUT).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def run_kept(folder: Path, settings: Settings) -> dict:
    """The numbers of a run that is prepared again; empty for a new one.

    Its settings stay as they were written, since its checkpoints know them so: in the first runs with paths as given.

    Raises:
        TrainingError: it has other settings, so that its models are of no use.
    """
    if not (folder / NUMBERS).exists():
        return {}
    known = read_numbers(folder)
    then = Settings(**known["settings"]).from_the_root()
    if changes := differences(vars(then), vars(settings.from_the_root())):
        raise TrainingError(
            f"{folder} holds a run of other settings: {'; '.join(changes)}. Give another folder, or --restart to begin"
            " anew here"
        )
    return known


def require_one_task(treebank: list[str] | None, jsonl: list[str] | None, schema: str | None) -> None:
    if treebank and jsonl:
        raise TrainingError("give --treebank or --jsonl, not both: a run has one task")
    if jsonl and not schema:
        raise TrainingError("--jsonl says nothing about what an answer looks like: give --schema, too")
    if schema and not jsonl:
        raise TrainingError(f"--schema goes with --jsonl: the answers to a treebank are those of {TAGGING}")


def count(run: Run, records: list[Record]) -> dict[str, int]:
    """What became of the records, in figures."""
    reasons = Counter(left_out.reason for left_out in run.left_out)
    lengths = [*(len(example.tokens) for example in run.train + run.heldout), *(row.tokens for row in run.left_out)]
    return {
        "records": len(records),
        "documents": len({record.document for record in records}),
        "accepted": len(records) - reasons[REFUSED] - reasons[NOT_SPELLED],
        "refused": reasons[REFUSED],
        "not_spelled": reasons[NOT_SPELLED],
        "too_long": reasons[TOO_LONG],
        "longest": max(lengths, default=0),
        "train": len(run.train),
        "heldout": len(run.heldout),
        "vocabulary": run.vocab.size,
        "states": run.con.num_states,
    }


def report_counts(run: Run, counts: dict[str, int]) -> None:
    print(f"{counts['records']:,} records in {counts['documents']:,} documents")
    print(f"{counts['accepted']:,} of {counts['records']:,} answers accepted by the schema")
    if counts["not_spelled"]:
        print(f"{counts['not_spelled']:,} answers cannot be spelled by the tokenizer")
    longest = f"(longest: {counts['longest']:,})"
    print(f"{counts['too_long']:,} longer than {run.settings.max_length:,} tokens, left out {longest}")
    for reason in sorted({left_out.reason for left_out in run.left_out}):
        first = next(left_out for left_out in run.left_out if left_out.reason == reason)
        print(f"[red]left out, for example:[/red] {escape(str(first))}")
    if run.left_out:
        print(f"all that is left out, with the reason: {escape(str(run.folder / LEFT_OUT))}")
    print(f"{counts['train']:,} to learn from, {counts['heldout']:,} held out, by document")
    print(f"vocabulary of {counts['vocabulary']:,} tokens, {counts['states']} states, on {device()}")


def main(
    out: Annotated[Path, typer.Option(help="the run's folder")],
    treebank: Treebank = None,
    jsonl: Annotated[
        list[str] | None,
        typer.Option(help='rows {"input": text, "answer": text or JSON value} of any task; several may be given'),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(help="of the rows' answers: a pydantic model's package.module:Model or file.py:Model, or a .json"),
    ] = None,
    heldout: Heldout = None,
    tokenizer: Tokenizer = None,
    teacher: Annotated[str | None, typer.Option(help="by name or path: its tokenizer and width are used")] = None,
    max_length: MaxLength = MAX_LENGTH,
    seed: Seed = 0,
    restart: Restart = False,
) -> None:
    """Begin a run: read and split a treebank or any task's rows, make the tokenizer, check every answer."""
    prepare(
        out,
        treebank=treebank,
        jsonl=jsonl,
        schema=schema,
        heldout=heldout,
        tokenizer=tokenizer,
        teacher=teacher,
        max_length=max_length,
        seed=seed,
        restart=restart,
    )


if __name__ == "__main__":
    program(main)
