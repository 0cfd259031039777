"""Answers to time, as text: a treebank's, or drawn from fixed seeds, all spelled as the project spells JSON.

Reference material (the GUM treebank) is looked for in the folder `FASTMASK_SHARED`, by default `shared` beside the
repository; the project's own treebank stands in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from training.data.treebank import read_treebank
from training.schema import answer, to_json

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FASTMASK_SHARED") or REPOSITORY.parent / "shared")
OWN = REPOSITORY / "training" / "treebank"

COUNT, FEW = 64, 4  # answers drawn, for measuring and for a look at their correctness

_AREAS = [
    "billing",
    "delivery",
    "returns",
    "account",
    "security",
    "catalogue",
    "search",
    "mobile",
    "payroll",
    "warranty",
]
_MATTERS = ["address", "colour", "damage", "delay", "duplicate", "language", "missing", "password", "price", "refund"]
_CASES = ["first", "second", "urgent", "routine", "disputed", "resolved", "reopened", "foreign", "bulk", "private"]
LABELS = [f"{area}/{matter}/{case}" for area in _AREAS for matter in _MATTERS for case in _CASES]


# ---- the treebank's ---------------------------------------------------------------------------------------


def sentences(quick: bool) -> list[list[tuple[str, str]]]:
    """(form, tag) pairs of the article's corpus, or of our own."""
    gum = SHARED / "data" / "gum" / "en_gum-dev.conllu"
    files = [gum] if gum.exists() and not quick else sorted(OWN.glob("*.conllu"))
    return [sentence.words for sentence in read_treebank(files)]


def treebank(quick: bool) -> list[str]:
    """What a tagger is to say about each sentence."""
    return [answer(words) for words in sentences(quick)]


# ---- drawn ------------------------------------------------------------------------------------------------


def _drawn(quick: bool, draw: Callable[[Random], Any]) -> list[str]:
    random = Random(0)
    return [to_json(draw(random)) for _ in range(FEW if quick else COUNT)]


def tool_calls(quick: bool) -> list[str]:
    """One to three searches, each with some conditions on dates."""

    def moment(random: Random) -> dict[str, Any]:
        day = f"20{random.randrange(10, 27)}-{random.randrange(1, 13):02}-{random.randrange(1, 29):02}"
        return {"date": day, "zone": random.choice(["UTC", "CET", "EST"])}

    def condition(random: Random) -> dict[str, Any]:
        return {
            "field": f"{random.choice(_AREAS)}.{random.choice(_MATTERS)}",
            "operator": random.choice(["equals", "contains", "between"]),
            "value": {"since": moment(random), "until": random.choice([None, moment(random)])},
        }

    def call(random: Random) -> dict[str, Any]:
        query = {
            "collection": random.choice(_AREAS),
            "filter": {"every": [condition(random) for _ in range(random.randrange(4))]},
            "limit": random.randrange(10_000),
        }
        function = {
            "name": random.choice(["search", "count", "delete"]),
            "arguments": {"query": query, "dry_run": random.random() < 0.5},
        }
        return {"id": f"call_{random.getrandbits(48):012x}", "function": function}

    return _drawn(quick, lambda random: {"tool_calls": [call(random) for _ in range(random.randrange(1, 4))]})


def articles(quick: bool) -> list[str]:
    """A title and some paragraphs of the treebank's sentences, one to four thousand characters."""
    lines = [" ".join(form for form, _ in words) for words in sentences(quick)]

    def article(random: Random) -> dict[str, str]:
        paragraphs, length = [], random.randrange(1_000, 4_000)
        while sum(map(len, paragraphs)) < length:
            paragraphs.append(" ".join(random.choices(lines, k=5)))
        return {"title": random.choice(lines), "body": "\n".join(paragraphs)}

    return _drawn(quick, article)


def readings(quick: bool) -> list[str]:
    """Records of a sensor: coordinates, and samples of all magnitudes, some with an exponent."""

    def reading(random: Random) -> dict[str, Any]:
        return {
            "id": random.randrange(10**9),
            "latitude": round(random.uniform(-90, 90), 6),
            "longitude": round(random.uniform(-180, 180), 6),
            "samples": [random.gauss(0, 1) * 10.0 ** random.randrange(-9, 20) for _ in range(random.randrange(6))],
            "valid": random.random() < 0.9,
        }

    return _drawn(quick, lambda random: {"readings": [reading(random) for _ in range(random.randrange(1, 6))]})


def labels(quick: bool) -> list[str]:
    """Five to thirty of the thousand labels."""
    return _drawn(quick, lambda random: {"labels": random.choices(LABELS, k=random.randrange(5, 31))})
