"""Tiny models made on the spot, untrained and without an opinion, and the check that every answer has to pass."""

from __future__ import annotations

import json
from typing import Any

from tests.cases import UPOS

WIDTH = 640  # of the models' logits: wider than the tokenizer, as is usual
TOKENS = 90  # enough for nearly every answer

PROMPTS = ["Get well soon", "She bought tea", "yes no maybe Monday"]

# Short enough to be finished by a model that knows nothing.
SHORT_SCHEMA = {
    "type": "object",
    "properties": {"pos": {"enum": UPOS}, "n": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3}},
    "required": ["pos", "n"],
    "additionalProperties": False,
}


def is_answer(text: str) -> bool:
    """Does the text parse, and satisfy ``SHORT_SCHEMA``? Told without fastmask."""
    answer = json.loads(text)
    return (
        set(answer) == {"pos", "n"}
        and answer["pos"] in UPOS
        and len(answer["n"]) <= 3
        and set(answer["n"]) <= {"a", "b"}
    )


def gpt2(eos: int, seed: int = 0, **options: Any) -> Any:
    config = {"vocab_size": WIDTH, "n_positions": 256, "n_embd": 32, "n_layer": 1, "n_head": 2} | _special(eos)
    return _made("GPT2LMHeadModel", "GPT2Config", seed, config | options)


def llama(eos: int, seed: int = 0, **options: Any) -> Any:
    """Rotary positions: what a cache holds depends on where it was read."""
    config = {"vocab_size": WIDTH, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 2, "max_position_embeddings": 256} | _special(eos)
    return _made("LlamaForCausalLM", "LlamaConfig", seed, config | options)


def t5(eos: int, seed: int = 0) -> Any:
    config = {"vocab_size": WIDTH, "d_model": 32, "d_kv": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    return _made("T5ForConditionalGeneration", "T5Config", seed, config | _special(eos, decoder_start_token_id=eos))


def bart(eos: int, seed: int = 0) -> Any:
    config = {"vocab_size": WIDTH, "d_model": 32, "max_position_embeddings": 256, "forced_eos_token_id": None}
    for part in ("encoder", "decoder"):
        config |= {f"{part}_layers": 1, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 32}
    config |= _special(eos, decoder_start_token_id=eos)
    return _made("BartForConditionalGeneration", "BartConfig", seed, config)


def _special(eos: int, **others: int) -> dict[str, int]:
    return {"bos_token_id": eos, "eos_token_id": eos, "pad_token_id": eos, **others}


def _made(model: str, config: str, seed: int, options: dict[str, Any]) -> Any:
    import torch
    import transformers

    torch.manual_seed(seed)
    return getattr(transformers, model)(getattr(transformers, config)(**options)).eval()


def generate(model: Any, inputs: Any, *processors: Any, seed: int = 0, **options: Any) -> Any:
    """What ``generate`` adds to the prompts (to their padding where they are padded): ids [B, t]."""
    import torch

    torch.manual_seed(seed)
    sequences = model.generate(**inputs, logits_processor=list(processors), **({"max_new_tokens": TOKENS} | options))
    return sequences[:, prompt_length(model, inputs) :]


def prompt_length(model: Any, inputs: Any) -> int:
    """Ids of the result that were not generated: an encoder-decoder's begins with one token of its own."""
    if model.config.is_encoder_decoder:
        return 1
    return inputs["input_ids"].shape[1] if "input_ids" in inputs else 0


def texts_of(generated: Any, tokenizer: Any) -> list[str]:
    return [tokenizer.decode(row, skip_special_tokens=True) for row in generated]


def bytes_of(row: list[int], vocabulary: Any) -> bytes:
    """What the tokens spell; EOS and other special tokens nothing."""
    return b"".join(vocabulary.tokens[i] or b"" for i in row)


def lengths_of(generated: Any, con: Any) -> Any:
    """The length of each row up to its EOS, that included: what follows is padding."""
    import torch

    ended = torch.isin(generated, torch.tensor(con.vocabulary.eos_token_ids))
    return torch.where(ended.any(1), ended.int().argmax(1) + 1, generated.shape[1])


def assert_valid(generated: Any, con: Any, tokenizer: Any, is_valid: Any = is_answer) -> int:
    """No token ever broke the constraint, and what is finished is valid; returns how many are."""
    lengths = lengths_of(generated, con)
    verdict = con.check(generated, lengths=lengths)
    assert (verdict.first_error == -1).all()
    rows = [row[:length] for row, length in zip(generated, lengths, strict=True)]
    finished = [row for row, done in zip(rows, verdict.complete, strict=True) if done]
    assert all(map(is_valid, texts_of(finished, tokenizer)))
    return len(finished)


class Driven:
    """A generation by hand: scores are drawn, and each step's mask is compared with that of the walked states."""

    def __init__(self, con: Any, prompts: list[list[int]], seed: int = 0) -> None:
        import torch

        self._con = con
        self._draw = torch.Generator().manual_seed(seed)
        self.ids = torch.tensor(prompts)
        self.states = torch.full((len(prompts),), con.initial_state)

    def step(self, processor: Any, reordered: bool = False) -> None:
        """One token further; ``reordered``: each row goes on from any row, as beams do."""
        import torch

        count = len(self.ids)
        masked = processor(self.ids, torch.randn(count, WIDTH, generator=self._draw))
        assert torch.equal(masked.isfinite(), self._con.allowed(self.states))
        origin = torch.randint(count, (count,), generator=self._draw) if reordered else torch.arange(count)
        chosen = masked[origin].argmax(-1)
        self.ids = torch.cat([self.ids[origin], chosen[:, None]], dim=1)
        self.states = self._con.advance(self.states[origin], chosen)
