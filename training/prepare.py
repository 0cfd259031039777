"""Treebank, tokenizer and constraint → a run: a folder, and the examples that every later stage works on.

`python -m training.prepare` writes the folder; the other stages open it again. It holds the tokenizer, the
models as ordinary `save_pretrained` folders, and `numbers.json`: the settings, and all that was measured.
"""

import json
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Annotated

import typer
from rich import print
from transformers import AutoConfig, PreTrainedModel

import fastmask as fm
from training.errors import TrainingError
from training.examples import Example, encode, spelling
from training.models import context_length, device, load_model, logit_width
from training.program import program
from training.schema import AnnotatedSentence, answer
from training.tokenizer import load_tokenizer, train_bpe
from training.treebank import Sentence, read_treebank, split_by_document

OWN_TREEBANK = Path(__file__).parent / "treebank"
HELD_OUT_SHARE = 0.15  # of the sentences, where no held-out file is given
TOKENS_PER_BATCH = 768  # with padding; small models learn more from many small steps than from few large ones
MAX_LENGTH = 512


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
    tokenizer: object
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
        own = self.folder / name
        return load_model(str(own) if own.exists() else name)

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


def prepare(
    out: Path,
    *,
    treebank: list[str] | None = None,
    heldout: list[str] | None = None,
    tokenizer: str | None = None,
    teacher: str | None = None,
    max_length: int = MAX_LENGTH,
    seed: int = 0,
) -> Run:
    """Starts a run in the folder `out`. A named teacher brings its tokenizer and the width of its logits."""
    if treebank is None:
        treebank = [str(OWN_TREEBANK / "train.conllu")]
        heldout = heldout or [str(OWN_TREEBANK / "dev.conllu")]
    training, held_out = read_and_split(treebank, heldout or [], seed)
    if tokenizer or teacher:
        loaded = load_tokenizer(tokenizer or teacher)
    else:
        loaded = train_bpe(text for s in training for text in (s.text, answer(s.words)))
    width = len(loaded)
    if teacher:
        config = AutoConfig.from_pretrained(teacher)
        width, max_length = logit_width(config), min(max_length, context_length(config) or max_length)
    loaded.save_pretrained(out / "tokenizer")  # makes the folder, too
    settings = Settings(treebank, heldout or [], tokenizer or teacher or "trained on the text", width, max_length, seed)
    run, counts = build(out, settings, training, held_out)
    write_json(out / "numbers.json", {"settings": vars(settings), "data": counts, "models": {}})
    report_counts(counts, settings)
    return run


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
        raise TrainingError(f"one side of the split is empty: {counts}; allow longer sentences than {settings.max_length}")
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
        print(f"[red]refused by the schema:[/red] sentence {examples[row].name}, after …{before[-60:]}")
    return accepted


def report_counts(counts: dict, settings: Settings) -> None:
    print(f"{counts['sentences']:,} sentences in {counts['documents']} documents")
    print(f"{counts['accepted']:,} of {counts['sentences']:,} answers accepted by the schema")
    print(f"{counts['too_long']:,} longer than {settings.max_length} tokens and left out (longest: {counts['longest']:,})")
    print(f"{counts['train']:,} to learn from, {counts['heldout']:,} held out, by document")
    print(f"vocabulary of {counts['vocabulary']:,} tokens, {counts['states']} states, on {device()}")


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main(
    out: Annotated[Path, typer.Option(help="the run's folder")],
    treebank: Annotated[list[str] | None, typer.Option(help="CoNLL-U file; several may be given")] = None,
    heldout: Annotated[list[str] | None, typer.Option(help="CoNLL-U file to hold out; default: a share of the documents")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="by name or path; default: trained on the text")] = None,
    teacher: Annotated[str | None, typer.Option(help="by name or path: its tokenizer and width are used")] = None,
    max_length: Annotated[int, typer.Option(help="in tokens; longer examples are counted and left out")] = MAX_LENGTH,
    seed: Annotated[int, typer.Option(help="decides split, weights, batches and samples")] = 0,
) -> None:
    """Begin a run: read and split the treebank, make the tokenizer, check every answer against the schema."""
    prepare(
        out, treebank=treebank, heldout=heldout, tokenizer=tokenizer, teacher=teacher, max_length=max_length, seed=seed
    )


if __name__ == "__main__":
    program(main)
