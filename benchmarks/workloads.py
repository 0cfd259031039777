"""What is measured: formats under tokenizers, each with its reason.

Real tokenizers and the sample of schemas are looked for in the folder `FASTMASK_SHARED`, by default `shared` beside
the repository. Without it a BPE trained on the spot stands in.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

import fastmask as fm
from benchmarks.formats import ARTICLE, FORMATS, Format
from benchmarks.texts import SHARED, treebank
from training.data.tokenizer import train_bpe

# ---- tokenizers -----------------------------------------------------------------------------------------

TOKENIZERS = {
    "gpt2": "byte-level BPE, 50,257 tokens: the article's",
    "llama2": "SentencePiece with byte fallback, 32,000 tokens",
    "llama3": "128,256 tokens: what does not scale with the vocabulary shows here",
}


@cache
def tokenizers(quick: bool = False) -> dict[str, Any]:
    """The real tokenizers at hand, else one that is trained on the treebank's answers."""
    from transformers import AutoTokenizer

    folders = {name: SHARED / "tokenizers" / name for name in TOKENIZERS}
    found = {name: folder for name, folder in folders.items() if folder.is_dir() and not quick}
    if not found:
        return {"own BPE": train_bpe(treebank(quick))}
    return {name: AutoTokenizer.from_pretrained(folder) for name, folder in found.items()}


# ---- all together ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Workload:
    """One format, one tokenizer, the answers in its tokens."""

    format: Format
    tokenizer_name: str
    tokenizer: Any
    vocabulary: fm.Vocabulary
    answers: list[list[int]]

    @property
    def name(self) -> str:
        return f"{self.format.name} · {self.tokenizer_name}"

    def constraint(self) -> fm.Constraint:
        return fm.Constraint.from_schema(self.format.schema, self.vocabulary)

    def sample(self, count: int) -> list[list[int]]:
        """``count`` answers from all over the corpus."""
        return self.answers[:: max(1, len(self.answers) // count)][:count]


def workloads(quick: bool = False, formats: Sequence[Format] = FORMATS) -> Iterator[Workload]:
    """Every format under the first tokenizer, the article's alone under the others too.

    Not the whole product: what a format costs shows under one vocabulary, what a vocabulary costs with one format.
    """
    for number, name in enumerate(tokenizers(quick)):
        for each in formats:
            if number == 0 or each is ARTICLE:
                yield workload(each, name, quick)


@cache
def workload(format: Format, tokenizer_name: str, quick: bool = False) -> Workload:
    tokenizer = tokenizers(quick)[tokenizer_name]
    answers = encode(tokenizer, format.answers(quick))
    return Workload(format, tokenizer_name, tokenizer, vocabulary(tokenizer_name, quick), answers)


@cache
def vocabulary(tokenizer_name: str, quick: bool = False) -> fm.Vocabulary:
    return fm.Vocabulary.from_tokenizer(tokenizers(quick)[tokenizer_name])


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Tokens of each answer as it stands behind EOS: at the beginning of a text SentencePiece would add a space."""
    eos = tokenizer.eos_token_id
    rows = tokenizer([tokenizer.eos_token + text for text in texts], add_special_tokens=False)["input_ids"]
    return [row[row.index(eos) + 1 :] for row in rows]


def padded(rows: list[list[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(tokens [B,T], lengths [B]), as a data loader would hand them on."""
    lengths = np.array([len(row) for row in rows])
    tokens = np.zeros((len(rows), lengths.max()), dtype=np.int64)
    for line, row in zip(tokens, rows, strict=True):
        line[: len(row)] = row
    return tokens, lengths


def schema_sample() -> list[str]:
    """Schemas from the wild, of every kind that JSONSchemaBench knows; empty without the shared folder."""
    path = SHARED / "data" / "jsonschemabench" / "sample.jsonl.gz"
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.dumps(json.loads(line)["schema"]) for line in lines]
