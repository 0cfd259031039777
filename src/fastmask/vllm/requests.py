"""What a request asks for: ``SamplingParams.extra_args["fastmask"]`` → a constraint, compiled once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

from fastmask.constraint import Constraint
from fastmask.errors import FastmaskError, InputError
from fastmask.vocabulary import Vocabulary

__all__ = ["KEY", "Constraints", "require_supported", "validate"]

KEY = "fastmask"
_REMEMBERED = 256  # distinct constraints, a few dozen kilobytes each
_SECONDS = 3.0  # to compile one: the whole batch waits for it
_SLACK = 4  # more time in the worker, where an error would end the engine, for what was validated in time
_MAKERS: dict[str, Callable[..., Constraint]] = {
    "schema": Constraint.from_schema,
    "regex": Constraint.from_regex,
    "choices": Constraint.from_choices,
}


def validate(sampling_params: Any) -> None:
    """Refuse a request here, before it is queued: an error in the worker would end the engine.

    Compiles what is asked for, against the 256 bytes in place of the model's vocabulary.

    Raises:
        ValueError: what is asked for is malformed, not enforceable, or too large.
    """
    wanted = _wanted(sampling_params)
    if wanted is None:
        return
    try:
        _compiled(wanted, _bytes(), _SECONDS)
    except FastmaskError as error:
        raise InputError(f'extra_args["{KEY}"]: {error}') from error  # vLLM expects a ValueError, whatever it is


class Constraints:
    """The constraints of one model's requests.

    Args:
        vllm_config: vLLM's, of which the tokenizer and the width of the logits are taken.
    """

    def __init__(self, vllm_config: Any) -> None:
        self._vocabulary = _vocabulary(vllm_config.model_config)
        self._compiled = lru_cache(_REMEMBERED)(lambda wanted: _compiled(wanted, self._vocabulary, _SLACK * _SECONDS))

    def of(self, sampling_params: Any) -> Constraint | None:
        """The request's constraint, ``None`` if it asks for none. Equal wishes share one constraint."""
        wanted = _wanted(sampling_params)
        return None if wanted is None else self._compiled(wanted)


def require_supported(vllm_config: Any) -> None:
    """Refuse what would need more than one state a request, or a request's states on more than one device.

    Raises:
        InputError: speculative decoding or batch-sharded sampling is on.
    """
    if vllm_config.speculative_config is not None:
        raise InputError("fastmask does not follow speculative decoding in vLLM: leave out speculative_config")
    if getattr(vllm_config.parallel_config, "enable_batch_sharded_sampling", False):
        raise InputError(
            "with batch-sharded sampling a request's tokens are sampled on changing devices, none of which could keep"
            " its state: leave out enable_batch_sharded_sampling"
        )


def _wanted(sampling_params: Any) -> str | None:
    """What a request asks for, in one spelling for equal wishes."""
    asked = (sampling_params.extra_args or {}).get(KEY)
    if asked is None:
        return None
    if isinstance(asked, str):
        try:
            asked = json.loads(asked)
        except json.JSONDecodeError as error:
            raise InputError(f'extra_args["{KEY}"] is text but not JSON ({error}): {asked!r}') from None
    if not isinstance(asked, Mapping) or len(asked) != 1 or next(iter(asked)) not in _MAKERS:
        raise InputError(f'extra_args["{KEY}"] must be {{one of {sorted(_MAKERS)}: …}}, got {asked!r}')
    try:
        return json.dumps(asked)
    except TypeError as error:
        raise InputError(
            f'extra_args["{KEY}"] must be plain JSON ({error}): give Model.model_json_schema(), not a model'
        ) from None


def _compiled(wanted: str, vocabulary: Vocabulary, seconds: float) -> Constraint:
    ((kind, value),) = json.loads(wanted).items()
    return _MAKERS[kind](value, vocabulary, max_seconds=seconds)


def _vocabulary(model_config: Any) -> Vocabulary:
    from vllm.tokenizers import cached_tokenizer_from_config

    tokenizer = cached_tokenizer_from_config(model_config)
    if tokenizer is None:
        raise InputError("fastmask needs the model's tokenizer: leave out skip_tokenizer_init")
    ends = model_config.try_get_generation_config().get("eos_token_id")
    return Vocabulary.from_tokenizer(tokenizer, size=model_config.get_vocab_size(), eos_token_id=ends)


@cache
def _bytes() -> Vocabulary:
    return Vocabulary([bytes([byte]) for byte in range(256)] + [None], eos_token_id=256)
