"""A run is a folder, and the examples that every stage works on.

The folder holds the tokenizer, the models as ordinary `save_pretrained` folders, and `numbers.json`: the
settings, and all that was measured. `training.prepare` begins it; any later stage can open it by itself.
"""

import json
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

from rich import print
from rich.markup import escape
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import fastmask as fm
from fastmask.canonical import spelling
from training.errors import TrainingError
from training.examples import Example, encode
from training.models import load_model
from training.schema import AnnotatedSentence, answer
from training.tokenizer import load_tokenizer
from training.treebank import Sentence, read_treebank, split_by_document

HELD_OUT_SHARE = 0.15  # of the sentences, where no held-out file is given
TOKENS_PER_BATCH = 768  # with padding; small models learn more from many small steps than from few large ones


@dataclass(frozen=True)
class Settings:
    treebank: list[str]
    heldout: list[str]  # empty: whole documents of the treebank are held out
    tokenizer: str  # where it came from; the run keeps its own copy
    width: int  # of the logits
    max_length: int  # tokens of prompt and answer together
    seed: int


@dataclass(frozen=True)
class Run:
    folder: Path
    settings: Settings
    tokenizer: PreTrainedTokenizerBase
    vocab: fm.Vocabulary
    con: fm.Constraint
    sentences: list[Sentence]  # to learn from
    train: list[Example]  # the same, encoded
    heldout: list[Example]

    def record(self, name: str, **facts) -> None:
        """Adds what is known about one model to `numbers.json`."""
        numbers = self.numbers()
        numbers["models"].setdefault(name, {}).update(facts)
        write_json(self.folder / "numbers.json", numbers)

    def numbers(self) -> dict:
        return read_json(self.folder / "numbers.json")

    def keep(self, name: str, model: PreTrainedModel, **facts) -> None:
        """Saves a trained model as a folder that `AutoModelForCausalLM` and `pipeline` load."""
        model.save_pretrained(self.folder / name)
        self.tokenizer.save_pretrained(self.folder / name)
        self.record(name, **facts)

    def load(self, name: str) -> PreTrainedModel:
        """A model of this run, or any other by name or path."""
        return load_model(self.source(name))

    def source(self, name: str) -> str:
        """Where a model lies: its folder in this run, or else its name or path."""
        own = self.folder / name
        borrowed = self.numbers()["models"].get(name, {}).get("source", name)  # a teacher by name, taken as it is
        return str(own) if own.exists() else borrowed

    def some_heldout(self, count: int = 48) -> list[Example]:
        """At most `count` held-out examples, spread evenly over the documents."""
        return self.heldout[:: -(-len(self.heldout) // count)]

    @property
    def tiny_model_settings(self) -> dict[str, int]:
        return {
            "vocab_size": self.settings.width,
            "context": self.settings.max_length,
            "eos": self.tokenizer.eos_token_id,
        }


def open_run(folder: Path) -> Run:
    """The run that `prepare` began, for the stages that follow."""
    if not (folder / "numbers.json").exists():
        raise TrainingError(f"{folder} holds no run; begin one with: python -m training.prepare --out {folder}")
    settings = Settings(**read_json(folder / "numbers.json")["settings"])
    run, _ = build(folder, settings, *read_and_split(settings.treebank, settings.heldout, settings.seed))
    return run


def build(folder: Path, settings: Settings, training: list[Sentence], heldout: list[Sentence]) -> tuple[Run, dict]:
    """The run, and what became of the sentences in figures."""
    tokenizer = load_tokenizer(str(folder / "tokenizer"))
    vocab = fm.Vocabulary.from_tokenizer(tokenizer, size=settings.width)
    con = fm.Constraint.from_schema(AnnotatedSentence, vocab)

    sentences = training + heldout
    examples = [encode(s.name, s.text, answer(s.words), tokenizer, vocab) for s in sentences]
    accepted = accepted_answers(examples, vocab, con)
    fits = [len(example.tokens) <= settings.max_length for example in examples]
    kept = [ok and fit for ok, fit in zip(accepted, fits, strict=True)]
    border = len(training)
    run = Run(
        folder, settings, tokenizer, vocab, con,
        sentences=list(compress(training, kept[:border])),
        train=list(compress(examples[:border], kept[:border])),
        heldout=list(compress(examples[border:], kept[border:])),
    )  # fmt: skip
    counts = {
        "sentences": len(sentences),
        "documents": len({s.document for s in sentences}),
        "accepted": sum(accepted),
        "too_long": fits.count(False),
        "longest": max(len(example.tokens) for example in examples),
        "train": len(run.train),
        "heldout": len(run.heldout),
        "vocabulary": vocab.size,
        "states": con.num_states,
    }
    if not run.train or not run.heldout:
        raise TrainingError(
            f"one side of the split is empty: {len(run.train)} sentences to learn from, {len(run.heldout)} held out, "
            f"{counts['too_long']} left out for more than {settings.max_length} tokens; allow a greater length"
        )
    return run, counts


def read_and_split(treebank: list[str], heldout: list[str], seed: int) -> tuple[list[Sentence], list[Sentence]]:
    if heldout:
        return read_treebank(treebank), read_treebank(heldout)
    return split_by_document(read_treebank(treebank), HELD_OUT_SHARE, seed)


def accepted_answers(examples: list[Example], vocab, con) -> list[bool]:
    """Which answers the schema accepts, all in one call; the first refusal is shown with its place."""
    answers = [example.answer for example in examples]
    checked = con.check(answers)
    accepted = [bool(complete) for complete in checked.complete]
    if not all(accepted):
        row = accepted.index(False)
        before = spelling(answers[row][: int(checked.first_error[row])], vocab).decode(errors="replace")
        print(f"[red]refused by the schema:[/red] {escape(f'sentence {examples[row].name}, after …{before[-60:]}')}")
    return accepted


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
