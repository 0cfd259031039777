"""The vocabularies that the cases run over, each with its tokens' bytes worked out without fastmask."""

from __future__ import annotations

import os
import random
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fastmask as fm
from tests.cases import TEXTS

SHARED = Path(os.environ.get("FASTMASK_SHARED", Path(__file__).parents[2] / "shared"))
REAL_TOKENIZERS = ("gpt2", "llama2", "llama3")


class Sample(NamedTuple):
    """A vocabulary, and what it must hold."""

    tokens: list[bytes | None]  # None = never text
    eos: int
    vocabulary: fm.Vocabulary
    tokenizer: Any = None


def synthetic(num_tokens: int = 20_000, seed: int = 0) -> Sample:
    """All single bytes, then slices of the test's own texts: needs nothing but Python. EOS stands in the middle."""
    draw = random.Random(seed)
    text = " ".join(TEXTS).encode()
    tokens: list[bytes | None] = [bytes([byte]) for byte in range(256)]
    while len(tokens) < num_tokens:
        begin = draw.randrange(len(text))
        tokens.append(text[begin : begin + draw.randint(1, 12)])
    eos = 300
    tokens[eos] = None
    return Sample(tokens, eos, fm.Vocabulary(tokens, eos))


def trained_bpe() -> Sample:
    """A byte-level BPE of 600 tokens trained on the test's own texts."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    return _byte_level_sample(wrapped)


@cache
def real(name: str) -> Sample:
    """One of the shared tokenizers; the test is skipped where it is absent."""
    folder = SHARED / "tokenizers" / name
    if not folder.is_dir():
        pytest.skip(f"no tokenizer at {folder}; FASTMASK_SHARED names the folder above")
    tokenizer = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(str(folder))
    return _sentencepiece_sample(tokenizer) if name == "llama2" else _byte_level_sample(tokenizer)


def _byte_level_sample(tokenizer: Any) -> Sample:
    byte_of = byte_level_alphabet()
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    tokens = [None if i in special else bytes(byte_of[c] for c in piece) for i, piece in enumerate(pieces)]
    return Sample(tokens, tokenizer.eos_token_id, fm.Vocabulary.from_tokenizer(tokenizer), tokenizer)


def byte_level_alphabet() -> dict[str, int]:
    """Character → byte, as the library itself translates texts; bytes that no UTF-8 holds stand for themselves."""
    from tokenizers import pre_tokenizers

    translate = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    byte_of = {chr(byte): byte for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}
    # One character for each ASCII byte, for each lead byte, and all 64 continuation bytes behind one of them.
    texts = [*map(chr, range(0x800)), *map(chr, range(0x800, 0xD800, 0x1000)), "\ud000", "\ue000", "\uf000"]
    texts += [chr(code) for code in (0x10000, *range(0x40000, 0x110000, 0x40000))]
    for text in texts:
        ((spelled, _),) = translate.pre_tokenize_str(text)
        byte_of.update(zip(spelled, text.encode(), strict=True))
    assert len(byte_of) == 256
    return byte_of


def _sentencepiece_sample(tokenizer: Any) -> Sample:
    """By the library's own decoder, behind an anchor because it strips the first space; single bytes by name."""
    anchor = tokenizer.convert_tokens_to_ids("a")
    ids = range(len(tokenizer))
    texts = tokenizer.backend_tokenizer.decode_batch([[anchor, i] for i in ids], skip_special_tokens=False)
    pieces = tokenizer.convert_ids_to_tokens(list(ids))
    tokens: list[bytes | None] = [
        bytes.fromhex(piece[3:5]) if text == "a\ufffd" and len(piece) == 6 else text[1:].encode()
        for text, piece in zip(texts, pieces, strict=True)
    ]
    for special in tokenizer.all_special_ids:
        tokens[special] = None
    return Sample(tokens, tokenizer.eos_token_id, fm.Vocabulary.from_tokenizer(tokenizer), tokenizer)


def spell(tokens: list[bytes | None], text: bytes, draw: random.Random) -> list[int]:
    """Token ids that spell `text`, each drawn from those that fit; every single byte must be a token."""
    ids = []
    while text:
        ids.append(draw.choice([i for i, token in enumerate(tokens) if token and text.startswith(token)]))
        text = text[len(tokens[ids[-1]]) :]
    return ids
