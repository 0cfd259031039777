"""Answers with slips in their format, for a teacher that is careless about it on purpose.

A teacher that is already perfect in the format leaves a penalty nothing to do, and a small one trained on clean answers
is nearly that. Large pretrained teachers are not: they know the task, and many ways to write its answer down. So ours
learns from answers in which a share of the entries (the innermost objects) has another key name, another spelling of
the value or odd punctuation, and in which a comma may follow the last item of a list. What such an answer says is
right; the way it says it often is not.
"""

import json
import random
from typing import Any

from training.schema import TAGS, to_json

OTHER_NAMES = {"text": ["word", "token", "form"], "pos": ["tag", "upos", "type"]}
ODD_COLONS = ["=", ":  ", "  :"]


def sloppy_answer(answer: str, sloppiness: float, rng: random.Random) -> str:
    """The JSON text `answer`, where each entry has a slip with probability `sloppiness`, and each list a last comma."""
    return _sloppy(json.loads(answer), sloppiness, rng)


def _sloppy(value: Any, sloppiness: float, rng: random.Random) -> str:
    if isinstance(value, list) and value:
        items = ",".join([_sloppy(item, sloppiness, rng) for item in value])
        return f"[{items}{',' if rng.random() < sloppiness else ''}]"
    if isinstance(value, dict) and value:
        if not any(isinstance(part, (dict, list)) for part in value.values()):
            return _entry(value, sloppiness, rng)
        return "{" + ",".join([f"{to_json(key)}:{_sloppy(part, sloppiness, rng)}" for key, part in value.items()]) + "}"
    return to_json(value)


def _entry(entry: dict[str, Any], sloppiness: float, rng: random.Random) -> str:
    """An object such as `{"text":…,"pos":…}`, with at most one slip: in a key, in the last value, or before it."""
    keys, values, colon = [to_json(key) for key in entry], [to_json(value) for value in entry.values()], ":"
    if rng.random() < sloppiness:
        slip = rng.choice([*range(len(keys)), "value", "colon"])
        if slip == "value":
            values[-1] = _other_spelling(list(entry.values())[-1])
        elif slip == "colon":
            colon = rng.choice(ODD_COLONS)
        else:
            key = list(entry)[slip]
            keys[slip] = to_json(rng.choice(OTHER_NAMES.get(key, [f"{key}s", f"the_{key}", f"{key}_"])))
    pairs = [f"{key}:{value}" for key, value in zip(keys[:-1], values[:-1], strict=True)]
    return "{" + ",".join([*pairs, f"{keys[-1]}{colon}{values[-1]}"]) + "}"


def _other_spelling(value: Any) -> str:
    """A tag in small letters; anything else in the wrong quotation marks, or in some where it has none."""
    return to_json(value.lower()) if value in TAGS else f"'{value}'"
