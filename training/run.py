"""A run is a folder, and the examples that every stage works on.

The folder holds the tokenizer, the models as ordinary `save_pretrained` folders, and `numbers.json`: the
settings, and all that was measured. `training.prepare` begins it; any later stage can open it by itself.
"""

import json
import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import fastmask as fm
from fastmask.cli.loading import absolute_schema, load_schema
from training.data.examples import Example
from training.data.records import Record, read_jsonl, split_by_document
from training.data.sift import TOO_LONG, LeftOut, sift
from training.data.tokenizer import load_tokenizer, require_same_tokens
from training.data.treebank import read_treebank
from training.errors import TrainingError
from training.learning.models import load_model, logit_width, widen
from training.schema import TAGGING

HELD_OUT_SHARE = 0.15  # of the records, where no held-out file is given
NUMBERS = "numbers.json"  # in the run's folder: the settings, and all that was measured
DAMAGED = "bring it back from a copy, or delete it and prepare the run anew"
LEFT_OUT = "left_out.jsonl"  # in the run's folder: what cannot be learnt from, and why
TOKENS_PER_BATCH = 768  # with padding; small models learn more from many small steps than from few large ones


def absolute(name: str) -> str:
    """The path from the root of what is there; another name, such as a model's on the hub, as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name


@dataclass(frozen=True)
class Settings:
    treebank: list[str]
    heldout: list[str]  # of the same kind; empty: whole documents are held out
    tokenizer: str  # where it came from; the run keeps its own copy
    width: int  # of the logits; 0 until the tokenizer is there
    max_length: int  # tokens of prompt and answer together
    seed: int
    jsonl: list[str] = field(default_factory=list)  # inputs and answers of any task; there is no treebank then
    schema: str = TAGGING  # where it came from: a file, or a pydantic model's module or file and name

    def from_the_root(self) -> "Settings":
        """The same with paths that hold from whatever folder a stage is run; a module has to be found from there."""
        lists = {name: list(map(absolute, getattr(self, name))) for name in ("treebank", "heldout", "jsonl")}
        return replace(self, **lists, tokenizer=absolute(self.tokenizer), schema=absolute_schema(self.schema))

    def read_and_split(self) -> tuple[list[Record], list[Record]]:
        """(training, held-out) records: of a treebank or of JSONL files, of which the other list is empty."""
        records = self._read(self.treebank or self.jsonl)
        if self.heldout:
            return records, self._read(self.heldout)
        return split_by_document(records, HELD_OUT_SHARE, self.seed)

    def _read(self, paths: list[str]) -> list[Record]:
        return read_jsonl(paths) if self.jsonl else [sentence.record for sentence in read_treebank(paths)]


@dataclass(frozen=True)
class Run:
    folder: Path
    settings: Settings
    tokenizer: PreTrainedTokenizerBase
    vocab: fm.Vocabulary
    con: fm.Constraint
    records: list[Record]  # to learn from
    train: list[Example]  # the same, encoded
    heldout: list[Example]
    left_out: list[LeftOut]  # of either side

    def record(self, name: str, **facts) -> None:
        """Adds what is known about one model to `numbers.json`."""
        self._write(name, facts, added=True)

    def _write(self, name: str, facts: dict, *, added: bool) -> None:
        with numbers_lock(self.folder):
            numbers = self.numbers()
            numbers["models"][name] = (numbers["models"].get(name, {}) if added else {}) | facts
            write_json(self.folder / NUMBERS, numbers)

    def numbers(self) -> dict:
        return read_numbers(self.folder)

    def keep(self, name: str, model: PreTrainedModel, **facts) -> None:
        """Saves a trained model as a folder that `AutoModelForCausalLM` and `pipeline` load.

        What was known about another model of this name, such as its scores, is forgotten.
        """
        model.save_pretrained(self.folder / name)
        self.tokenizer.save_pretrained(self.folder / name)
        self._write(name, facts, added=False)

    def load(self, name: str, *, dtype: str = "auto", device_map: str | None = None) -> PreTrainedModel:
        """A model of this run, or any other by name or path, with logits for all of the run's tokens.

        Raises:
            TrainingError: there is none, or its tokens are not the run's.
        """
        source = self.source(name)
        require_same_tokens(source, self.vocab)
        try:
            model = load_model(source, dtype=dtype, device_map=device_map)
        except TrainingError as error:
            held = (
                ", ".join(self.numbers()["models"])
                or f"none yet; for a teacher: python -m training.teacher {self.folder}"
            )
            raise TrainingError(f"{error}\n(models of {self.folder}: {held})") from error
        missing = self.vocab.tokens[logit_width(model.config) :]
        # Such as the token for padding that `prepare` adds. Tokens of text cannot be made up.
        return widen(model, self.settings.width) if missing and not any(missing) else model

    def source(self, name: str) -> str:
        """Where a model lies: its folder in this run if the run's numbers know it, or else its name or path."""
        known = self.numbers()["models"].get(name)
        if known is None:  # a folder of that name would be what a run before this one left
            return name
        return known.get("source", str(self.folder / name))  # a teacher by name is taken as it is

    def some_heldout(self, count: int = 48) -> list[Example]:
        """At most `count` held-out examples, spread evenly over the documents."""
        return self.heldout[:: -(-len(self.heldout) // count)]

    def require_both_sides(self) -> None:
        """
        Raises:
            TrainingError: there is nothing to learn from, or nothing held out.
        """
        if self.train and self.heldout:
            return
        reasons = Counter(left_out.reason for left_out in self.left_out)
        said = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        raise TrainingError(
            f"one side of the split is empty: {len(self.train):,} to learn from, {len(self.heldout):,} held out;"
            f" left out: {f'{said}, see {self.folder / LEFT_OUT}' if said else 'none'}"
            + (f"; allow a greater --max-length than {self.settings.max_length:,}" if reasons[TOO_LONG] else "")
        )

    @property
    def tiny_model_settings(self) -> dict[str, int]:
        return {
            "vocab_size": self.settings.width,
            "context": self.settings.max_length,
            "eos": self.tokenizer.eos_token_id,
        }


def open_run(folder: Path) -> Run:
    """The run that `prepare` began, for the stages that follow."""
    settings = Settings(**read_numbers(folder)["settings"])
    run = build(folder, settings, *settings.read_and_split())
    run.require_both_sides()
    return run


def build(folder: Path, settings: Settings, training: list[Record], heldout: list[Record]) -> Run:
    tokenizer = load_tokenizer(str(folder / "tokenizer"))
    vocab = fm.Vocabulary.from_tokenizer(tokenizer, size=settings.width)
    con = fm.Constraint.from_schema(load_schema(settings.schema), vocab)
    sides = [sift(side, tokenizer, con, settings.max_length) for side in (training, heldout)]
    train, held_out = ([found for found in side if isinstance(found, Example)] for side in sides)
    return Run(
        folder, settings, tokenizer, vocab, con,
        records=[record for record, found in zip(training, sides[0], strict=True) if isinstance(found, Example)],
        train=train,
        heldout=held_out,
        left_out=[found for side in sides for found in side if isinstance(found, LeftOut)],
    )  # fmt: skip


def throw_away(folder: Path) -> None:
    """Removes the run in this folder: its models, begun ones too, and what was measured; nothing where there is none.

    What a teacher was asked stays, for a cache or rollouts are taken only where they fit. The numbers go first: a kill
    in the middle leaves no run, and models that are nobody's.
    """
    if not (folder / NUMBERS).exists():
        return
    with numbers_lock(folder):
        models = read_numbers(folder)["models"]
        (folder / NUMBERS).unlink()
    inside = [path for path in map(folder.joinpath, models) if path.is_dir() and path.parent.samefile(folder)]
    for path in [*inside, *folder.glob("*.checkpoint"), folder / "tokenizer"]:
        shutil.rmtree(path, ignore_errors=True)
    for pattern in (
        "*.metrics.jsonl",
        "samples-*.json",
        LEFT_OUT,
        "table.md",
        "curves.png",
        "report.*",
        "report-*.png",
    ):
        for path in folder.glob(pattern):
            path.unlink()


def numbers_lock(folder: Path) -> FileLock:
    """For whoever changes `numbers.json`, since other programs may be at work on this run; a kill frees it."""
    return FileLock(folder / ".numbers.lock")


def read_numbers(folder: Path) -> dict:
    """What a run's `numbers.json` holds.

    Raises:
        TrainingError: there is no run in this folder, or its numbers are damaged.
    """
    path = folder / NUMBERS
    if not path.exists():
        raise TrainingError(f"{folder} holds no run; begin one with: python -m training.prepare --out {folder}")
    try:
        numbers = read_json(path)
    except ValueError as error:  # of JSON, and of UTF-8, too
        raise TrainingError(f"{path} is damaged: {error}; {DAMAGED}") from error
    if not (isinstance(numbers, dict) and {"settings", "models"} <= numbers.keys()):
        raise TrainingError(f"{path} is damaged: there are no settings and models in it; {DAMAGED}")
    return numbers


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: dict | list) -> None:
    """All or nothing: whoever is killed in the middle leaves what was there before."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
