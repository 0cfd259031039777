"""What is measured, and why: schemas, texts and tokenizers, each with its reason.

Reference material (the GUM treebank, real tokenizers, a sample of schemas) is looked for in the folder
`FASTMASK_SHARED`, by default `shared` beside the repository. Without it the project's own treebank and a BPE
trained on the spot stand in.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from outlines_core.json_schema import build_regex_from_schema
from pydantic import BaseModel

import fastmask as fm
import training.schema
from training.data.tokenizer import train_bpe
from training.data.treebank import read_treebank
from training.schema import answer

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FASTMASK_SHARED") or REPOSITORY.parent / "shared")
OWN = REPOSITORY / "training" / "treebank"

# ---- schemas --------------------------------------------------------------------------------------------


class AnnotatedToken(BaseModel):
    text: str
    pos: str


class AnnotatedSentence(BaseModel):
    tokens: list[AnnotatedToken]


@dataclass(frozen=True)
class Schema:
    name: str
    reason: str
    text: str  # the same JSON goes to every engine

    @cached_property
    def regex(self) -> str:
        return build_regex_from_schema(self.text)


SCHEMAS = [
    Schema(
        "article",
        "the worked example: free strings, where half of the vocabulary is allowed",
        json.dumps(AnnotatedSentence.model_json_schema()),
    ),
    Schema(
        "upos",
        "the tag is one of 17: many states that allow a handful of tokens",
        json.dumps(training.schema.AnnotatedSentence.model_json_schema()),
    ),
]

# ---- texts ----------------------------------------------------------------------------------------------


def treebank(quick: bool = False) -> tuple[str, list[str]]:
    """(name, answers): what a tagger is to say about each sentence of the article's corpus, or of our own."""
    gum = SHARED / "data" / "gum" / "en_gum-dev.conllu"
    name, files = ("GUM dev", [gum]) if gum.exists() and not quick else ("own treebank", sorted(OWN.glob("*.conllu")))
    return name, [answer(sentence.words) for sentence in read_treebank(files)]


# ---- tokenizers -----------------------------------------------------------------------------------------

TOKENIZERS = {
    "gpt2": "byte-level BPE, 50,257 tokens: the article's",
    "llama2": "SentencePiece with byte fallback, 32,000 tokens",
    "llama3": "128,256 tokens: what does not scale with the vocabulary shows here",
}


def tokenizers(texts: list[str], quick: bool = False) -> dict[str, Any]:
    """The real tokenizers at hand, else one that is trained on the texts."""
    from transformers import AutoTokenizer

    folders = {name: SHARED / "tokenizers" / name for name in TOKENIZERS}
    found = {name: folder for name, folder in folders.items() if folder.is_dir() and not quick}
    if not found:
        return {"own BPE": train_bpe(texts)}
    return {name: AutoTokenizer.from_pretrained(folder) for name, folder in found.items()}


# ---- all together ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    """One schema, one tokenizer, the answers in its tokens."""

    schema: Schema
    tokenizer_name: str
    tokenizer: Any
    vocabulary: fm.Vocabulary
    answers: list[list[int]]

    @property
    def name(self) -> str:
        return f"{self.schema.name} · {self.tokenizer_name}"

    def constraint(self) -> fm.Constraint:
        return fm.Constraint.from_schema(self.schema.text, self.vocabulary)

    def sample(self, count: int) -> list[list[int]]:
        """``count`` answers from all over the corpus."""
        return self.answers[:: max(1, len(self.answers) // count)][:count]


def workloads(quick: bool = False, schemas: list[Schema] = SCHEMAS) -> Iterator[Workload]:
    """Every schema under every tokenizer."""
    _, texts = treebank(quick)
    for name, tokenizer in tokenizers(texts, quick).items():
        vocabulary = fm.Vocabulary.from_tokenizer(tokenizer)
        answers = encode(tokenizer, texts)
        for schema in schemas:
            yield Workload(schema, name, tokenizer, vocabulary, answers)


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
