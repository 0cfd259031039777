"""What an answer in tagging must look like: words, each with its Universal POS tag; and how any answer is spelled."""

import json
from typing import Literal, get_args

from pydantic import BaseModel

UPOS = Literal["ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM",
               "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X"]  # fmt: skip
TAGS: tuple[str, ...] = get_args(UPOS)


class AnnotatedToken(BaseModel):
    text: str
    pos: UPOS


class AnnotatedSentence(BaseModel):
    tokens: list[AnnotatedToken]


TAGGING = "training.schema:AnnotatedSentence"  # as `--schema` would name it


def to_json(value) -> str:
    """The one spelling of JSON that every answer uses: no spaces, letters as themselves.

    `json.dumps` would write é as a backslash-u escape, which the schema's strings refuse.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def answer(words: list[tuple[str, str]]) -> str:
    """(form, tag) pairs → the answer that the student is to give."""
    return to_json({"tokens": [{"text": form, "pos": tag} for form, tag in words]})
