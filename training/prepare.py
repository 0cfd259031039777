"""Treebank, tokenizer and constraint → a run: every answer is checked against the schema before anything is trained."""

from pathlib import Path
from typing import Annotated

import typer
from rich import print

from training.models import context_length, device, load_config, logit_width
from training.program import Heldout, MaxLength, Seed, Tokenizer, Treebank, program
from training.run import Run, Settings, build, read_and_split, write_json
from training.schema import answer
from training.tokenizer import load_tokenizer, train_bpe

OWN_TREEBANK = Path(__file__).parent / "treebank"
MAX_LENGTH = 512


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
        config = load_config(teacher)
        width, max_length = logit_width(config), min(max_length, context_length(config) or max_length)
    loaded.save_pretrained(out / "tokenizer")  # makes the folder, too
    settings = Settings(treebank, heldout or [], tokenizer or teacher or "trained on the text", width, max_length, seed)
    run, counts = build(out, settings, training, held_out)
    write_json(out / "numbers.json", {"settings": vars(settings), "data": counts, "models": {}})
    report_counts(counts, settings)
    return run


def report_counts(counts: dict, settings: Settings) -> None:
    print(f"{counts['sentences']:,} sentences in {counts['documents']} documents")
    print(f"{counts['accepted']:,} of {counts['sentences']:,} answers accepted by the schema")
    print(f"{counts['too_long']:,} longer than {settings.max_length} tokens, left out (longest: {counts['longest']:,})")
    print(f"{counts['train']:,} to learn from, {counts['heldout']:,} held out, by document")
    print(f"vocabulary of {counts['vocabulary']:,} tokens, {counts['states']} states, on {device()}")


def main(
    out: Annotated[Path, typer.Option(help="the run's folder")],
    treebank: Treebank = None,
    heldout: Heldout = None,
    tokenizer: Tokenizer = None,
    teacher: Annotated[str | None, typer.Option(help="by name or path: its tokenizer and width are used")] = None,
    max_length: MaxLength = MAX_LENGTH,
    seed: Seed = 0,
) -> None:
    """Begin a run: read and split the treebank, make the tokenizer, check every answer against the schema."""
    prepare(
        out, treebank=treebank, heldout=heldout, tokenizer=tokenizer, teacher=teacher, max_length=max_length, seed=seed
    )


if __name__ == "__main__":
    program(main)
