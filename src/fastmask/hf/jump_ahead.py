"""Generation that asks the model only where there is a choice.

Much of a structured answer is forced: brackets, keys, separators. Where the automaton leaves no choice of bytes,
these are appended without the model, and the answer so far is tokenised anew, as the tokenizer itself would. The
last token of a forced stretch is left to the model (under the mask), because what follows might merge with it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessorList, PreTrainedModel

from fastmask.canonical import canonical_tokens, spelling
from fastmask.constraint import Constraint
from fastmask.errors import InputError, InputTypeError
from fastmask.hf.processor import ConstraintLogitsProcessor

__all__ = ["JumpAhead", "generate_jumping_ahead"]


class JumpAhead(NamedTuple):
    """What :func:`generate_jumping_ahead` returns."""

    sequences: Tensor
    """int64 [1, T]: the prompt and the answer, with EOS where it came."""
    answer: str
    """The answer's text."""
    model_calls: int
    """How often the model was asked."""
    tokens_saved: int
    """Tokens of the answer that no call of the model was spent on."""


def generate_jumping_ahead(
    model: PreTrainedModel,
    tokenizer: Any,
    con: Constraint,
    input_ids: Tensor,
    *,
    max_new_tokens: int,
    do_sample: bool = False,
    logits_processor: LogitsProcessorList | None = None,
) -> JumpAhead:
    """One answer to one prompt, with forced stretches appended instead of generated.

    It pays where the form leaves little choice: ``Constraint.from_schema(…, whitespace="")`` has no optional spaces
    between the parts of the JSON, each of which would be a choice.

    Args:
        model: a decoder-only model; its key-value cache is cropped where tokens were spelled anew.
        tokenizer: the one that ``con`` was made for.
        con: what the answer must keep to.
        input_ids: int64 [1, P], without padding.
        max_new_tokens: tokens of the answer, forced ones included. It always ends in time.
        do_sample: draw from the model's distribution over allowed tokens; otherwise take the likeliest.
        logits_processor: applied behind the mask (temperature, top-p, …).

    Raises:
        InputError: not one prompt, an encoder-decoder model, a constraint that knows no bytes
            (:meth:`fastmask.Constraint.from_index`), or no answer fits into ``max_new_tokens``.
        InputTypeError: ``input_ids`` that are no tensor.
    """
    if not isinstance(input_ids, Tensor):
        raise InputTypeError(
            f"input_ids must be a tensor [1, P], got {type(input_ids).__name__}; of a tokenizer's output, its"
            ' ["input_ids"]'
        )
    if input_ids.ndim != 2 or len(input_ids) != 1:
        raise InputError(f"input_ids must be one prompt [1, P], got shape {tuple(input_ids.shape)}")
    if model.config.is_encoder_decoder:
        raise InputError("jumping ahead needs a decoder-only model, got an encoder-decoder")
    reader = _Reader(model, input_ids)
    mask = ConstraintLogitsProcessor(con, input_ids.shape[1], max_new_tokens=max_new_tokens)
    then = logits_processor or LogitsProcessorList()
    answer: list[int] = []
    calls = saved = 0
    while len(answer) < max_new_tokens and (not answer or answer[-1] not in con.vocabulary.eos_token_ids):
        longer = _jumped(answer, tokenizer, con, max_new_tokens)
        saved += len(longer) - len(answer)
        answer = longer
        ids = _appended(input_ids, answer)
        scores = then(ids, mask(ids, reader.next_logits(ids)))
        answer = [*answer, _choose(scores, do_sample)]
        calls += 1
    text = spelling(answer, con.vocabulary).decode(errors="replace")
    return JumpAhead(_appended(input_ids, answer), text, calls, saved)


def _jumped(answer: list[int], tokenizer: Any, con: Constraint, max_new_tokens: int) -> list[int]:
    """The answer with the bytes that must follow, spelled as the tokenizer would, up to its last token.

    The answer as it was where nothing is forced, or where the new spelling would not be longer in text, would leave
    no room to end in time, or cannot be had (a character cut in two).
    """
    state = int(con.walk([answer])[0, -1]) if answer else con.initial_state
    forced = con.forced_bytes(state)
    if not forced:
        return answer
    text = spelling(answer, con.vocabulary)
    try:
        longer = canonical_tokens((text + forced).decode(), tokenizer, con.vocabulary)[:-1]
    except (UnicodeDecodeError, InputError):
        return answer
    if len(spelling(longer, con.vocabulary)) <= len(text) or len(longer) < len(answer):
        return answer
    needed = con.distance(int(con.walk([longer])[0, -1]))
    return longer if 0 <= needed <= max_new_tokens - len(longer) else answer


def _appended(input_ids: Tensor, answer: list[int]) -> torch.LongTensor:
    added = torch.tensor([answer], dtype=torch.int64, device=input_ids.device)
    return cast("torch.LongTensor", torch.cat([input_ids, added], dim=1))


def _choose(scores: Tensor, do_sample: bool) -> int:
    chosen = torch.multinomial(scores.softmax(-1), 1) if do_sample else scores.argmax(-1)
    return int(chosen.item())


class _Reader:
    """The model's logits behind a text that mostly grows, with the key-value cache of what stayed the same."""

    def __init__(self, model: PreTrainedModel, input_ids: Tensor) -> None:
        self._model = model
        self._cache = DynamicCache(config=model.config)
        self._read = input_ids[:, :0]  # what the cache holds

    @torch.no_grad()
    def next_logits(self, ids: Tensor) -> Tensor:
        """float32 [1, V] behind ``ids`` [1, T]."""
        shared = min(self._read.shape[1], ids.shape[1] - 1)  # at least one token must be read to have logits
        differs = (self._read[0, :shared] != ids[0, :shared]).nonzero()
        shared = int(differs[0]) if len(differs) else shared
        self._cache.crop(shared - self._read.shape[1])
        out = self._model(ids[:, shared:], past_key_values=self._cache, use_cache=True)
        self._read = ids
        logits: Tensor = out.logits[:, -1].float()
        return logits
