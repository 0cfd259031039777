"""What is asked for: the named JSON schemas, each with its reason and with answers that satisfy it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from outlines_core.json_schema import build_regex_from_schema
from pydantic import BaseModel

import training.schema
from benchmarks import texts


class AnnotatedToken(BaseModel):
    text: str
    pos: str


class AnnotatedSentence(BaseModel):
    tokens: list[AnnotatedToken]


class Moment(BaseModel):
    date: str
    zone: Literal["UTC", "CET", "EST"]


class Between(BaseModel):
    since: Moment
    until: Moment | None


class Condition(BaseModel):
    field: str
    operator: Literal["equals", "contains", "between"]
    value: Between


class Filter(BaseModel):
    every: list[Condition]


class Query(BaseModel):
    collection: str
    filter: Filter
    limit: int


class Arguments(BaseModel):
    query: Query
    dry_run: bool


class Function(BaseModel):
    name: Literal["search", "count", "delete"]
    arguments: Arguments


class ToolCall(BaseModel):
    id: str
    function: Function


class ToolCalls(BaseModel):
    tool_calls: list[ToolCall]


class Article(BaseModel):
    title: str
    body: str


class Reading(BaseModel):
    id: int
    latitude: float
    longitude: float
    samples: list[float]
    valid: bool


class Readings(BaseModel):
    readings: list[Reading]


LABELLED = {
    "type": "object",
    "properties": {"labels": {"type": "array", "items": {"enum": texts.LABELS}}},
    "required": ["labels"],
}


@dataclass(frozen=True)
class Format:
    """One schema; the same JSON goes to every engine."""

    name: str
    reason: str
    schema: str
    answers: Callable[[bool], list[str]]  # few of them where the argument says so

    @cached_property
    def regex(self) -> str:
        return build_regex_from_schema(self.schema)


def _model(name: str, reason: str, model: type[BaseModel], answers: Callable[[bool], list[str]]) -> Format:
    return Format(name, reason, json.dumps(model.model_json_schema()), answers)


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The same without references, of which outlines-core follows no more than four in a row."""
    definitions = schema.pop("$defs", {})

    def resolve(part: Any) -> Any:
        if isinstance(part, list):
            return [resolve(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return resolve(definitions[part["$ref"].rsplit("/", 1)[-1]])
        return {key: resolve(value) for key, value in part.items()}

    return resolve(schema)


ARTICLE = _model(
    "article", "the worked example: free strings, where half of the vocabulary is allowed", AnnotatedSentence,
    texts.treebank,
)  # fmt: skip
UPOS = _model(
    "upos", "the tag is one of 17: many states that allow a handful of tokens", training.schema.AnnotatedSentence,
    texts.treebank,
)  # fmt: skip
FORMATS = [
    ARTICLE,
    UPOS,
    Format("tool call", "objects and lists eleven deep: much is forced, and engines with a stack must keep one",
           json.dumps(inlined(ToolCalls.model_json_schema())), texts.tool_calls),
    _model("free text", "strings of thousands of characters: the largest masks, position after position", Article,
           texts.articles),
    _model("numbers", "digits: short tokens, and every one of them may end the number", Readings, texts.readings),
    Format("labels", "an enumeration of 1,000: an automaton as wide as its list", json.dumps(LABELLED), texts.labels),
]  # fmt: skip
