"""Schemas from the wild: the shared sample of JSONSchemaBench, where it is at hand."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

from tests.cases import Case
from tests.vocabularies import SHARED

SAMPLE = SHARED / "data" / "jsonschemabench" / "sample.jsonl.gz"
SMALL_SCHEMA = 3_000  # characters of its text: no small one's pattern is large enough to hurt
SMALL_PATTERN = 4_000  # characters: outlines-core's Index is built from it within seconds


def wild_cases(count: int) -> list[Case]:
    """The `count` shortest different patterns of schemas that outlines-core translates; none without the sample."""
    from outlines_core.json_schema import build_regex_from_schema

    patterns: dict[str, str] = {}
    for name, schema in _schemas():
        try:
            pattern = build_regex_from_schema(schema, None)
        except ValueError:
            continue
        if len(pattern) <= SMALL_PATTERN and not _counts_far(pattern):
            patterns.setdefault(pattern, name)
    return [Case(patterns[pattern], pattern, python=False) for pattern in sorted(patterns, key=len)[:count]]


def _schemas() -> Iterator[tuple[str, str]]:
    if not SAMPLE.is_file():
        return
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines:
        for line in lines:
            record: dict[str, Any] = json.loads(line)
            text = json.dumps(record["schema"], ensure_ascii=False)
            if len(text) <= SMALL_SCHEMA:
                yield record["name"].removesuffix(".json"), text


def _counts_far(pattern: str) -> bool:
    """Does it repeat something more than nine times? outlines-core's construction doubles with each time."""
    return any(len(count) > 1 for count in _counts(pattern))


def _counts(pattern: str) -> Iterator[str]:
    for part in pattern.split("{")[1:]:
        bounds = part.split("}")[0]
        if bounds.replace(",", "").isdigit():
            yield from filter(None, bounds.split(","))
