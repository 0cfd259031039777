"""Two sets of settings, compared for a message: what was asked then, and what is asked now."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["differences"]

_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")  # sha256; its beginning tells two apart


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words, each by its path: ``objective.penalty was "10", is now "0"``. Values are JSON's."""
    before, after = _leaves(then), _leaves(now)
    return [
        f"{path} was {_told(before.get(path))}, is now {_told(after.get(path))}"
        for path in dict.fromkeys([*before, *after])
        if before.get(path) != after.get(path)
    ]


def _leaves(nested: Mapping[str, Any], path: str = "") -> dict[str, str]:
    """By their paths, as JSON: 1 and 1.0 differ, and a tuple is a list."""
    leaves: dict[str, str] = {}
    for key, value in nested.items():
        inner = value if isinstance(value, Mapping) else None
        leaves |= {f"{path}{key}": json.dumps(value)} if inner is None else _leaves(inner, f"{path}{key}.")
    return leaves


def _told(value: str | None) -> str:
    return "not there" if value is None else _DIGEST.sub(r"\1…", value)
