"""Tokenizers → the raw bytes of their tokens.

A token's bytes are read from the vocabulary itself, never by decoding ids to text, which turns partial UTF-8
into U+FFFD. Two schemes cover today's language models:

- *byte-level BPE*: each character of a token stands for one byte (the table of OpenAI's GPT-2 ``encoder.py``);
- *SentencePiece*: ``▁`` stands for a space, and with byte fallback ``<0xE9>`` for that byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from fastmask.errors import InputTypeError, VocabularyError

__all__ = ["TokenBytes", "bytes_of_tokenizer"]

_T = TypeVar("_T", str, bytes)
_SPACE_SYMBOL = "▁"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class TokenBytes:
    """All tokens' bytes in one string: token ``i`` is ``data[offsets[i] : offsets[i + 1]]`` if ``is_text[i]``."""

    data: bytes
    offsets: npt.NDArray[np.int64]  # [n + 1]
    is_text: npt.NDArray[np.uint8]  # [n] 0 = never text

    @classmethod
    def of(cls, tokens: Sequence[bytes | None]) -> TokenBytes:
        """From a list, token 0 first; ``None`` is never text."""
        present, is_text = _present(tokens, b"")
        return cls(b"".join(present), _offsets(present), is_text)

    def to_list(self) -> list[bytes | None]:
        """The list again."""
        ends = self.offsets.tolist()
        return [self.data[ends[i] : ends[i + 1]] if text else None for i, text in enumerate(self.is_text.tolist())]

    def __len__(self) -> int:
        return len(self.is_text)


def bytes_of_tokenizer(tokenizer: Any) -> TokenBytes:
    """The bytes of each token of a Hugging Face tokenizer or a ``tiktoken.Encoding``.

    Raises:
        VocabularyError: the scheme is none of those above.
        InputTypeError: not a tokenizer.
    """
    if hasattr(tokenizer, "decode_single_token_bytes"):
        return _bytes_of_tiktoken(tokenizer)
    if not hasattr(tokenizer, "get_vocab"):
        raise InputTypeError(f"expected a tokenizer with get_vocab(), got {type(tokenizer).__name__}")
    pieces = _pieces(tokenizer)
    scheme = _scheme(tokenizer)
    if scheme == "byte-level":
        tokens = _byte_level(pieces)
    elif scheme == "sentencepiece":
        tokens = _sentencepiece(pieces)
    else:
        raise VocabularyError(
            f"{type(tokenizer).__name__} is neither byte-level BPE nor SentencePiece, so its tokens' bytes are not"
            " known exactly: take another tokenizer, or make a Vocabulary of the bytes themselves in Python"
        )
    return _with_added_tokens(tokens, tokenizer)


def _bytes_of_tiktoken(encoding: Any) -> TokenBytes:
    special = {encoding.encode_single_token(text) for text in encoding.special_tokens_set}

    def token(token_id: int) -> bytes | None:
        try:
            return None if token_id in special else encoding.decode_single_token_bytes(token_id)
        except KeyError:  # a gap in the ids
            return None

    return TokenBytes.of([token(token_id) for token_id in range(encoding.n_vocab)])


def _pieces(tokenizer: Any) -> list[str | None]:
    """The vocabulary's strings by id; ``None`` where no id is assigned."""
    backend = _backend(tokenizer)
    if backend is not None:  # by id is a third faster than the whole dict, but cannot see beyond a gap
        pieces: list[str | None] = list(map(backend.id_to_token, range(backend.get_vocab_size())))
        if pieces and None not in pieces:
            return pieces
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if not vocabulary:
        raise VocabularyError(f"{type(tokenizer).__name__} has an empty vocabulary")
    pieces = [None] * (max(vocabulary.values()) + 1)
    for piece, token_id in vocabulary.items():
        pieces[token_id] = piece
    return pieces


def _backend(tokenizer: Any) -> Any:
    """The ``tokenizers.Tokenizer`` of a fast tokenizer, or of itself; ``None`` for a slow one."""
    return tokenizer if hasattr(tokenizer, "pre_tokenizer") else getattr(tokenizer, "backend_tokenizer", None)


def _scheme(tokenizer: Any) -> str | None:
    """How the tokenizer's strings spell bytes, by its decoder; a slow tokenizer tells by its attributes."""
    backend = _backend(tokenizer)
    if backend is None:
        if hasattr(tokenizer, "byte_decoder"):
            return "byte-level"
        return "sentencepiece" if hasattr(tokenizer, "sp_model") else None
    if backend.decoder is None:
        return None
    decoder = json.loads(backend.decoder.__getstate__())
    steps = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        return "byte-level"
    replaces_space = any(step.get("pattern") == {"String": _SPACE_SYMBOL} for step in steps)
    return "sentencepiece" if replaces_space or kinds & {"Metaspace", "ByteFallback"} else None


@cache
def _byte_of_character() -> npt.NDArray[np.int16]:
    """UTF-16 code unit → byte of the byte-level alphabet, -1 for characters outside it.

    The printable characters of Latin-1 stand for themselves, the other 68 bytes for U+0100 onwards.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = np.full(1 << 16, -1, np.int16)
    table[printable] = printable
    table[0x100 : 0x100 + len(others)] = others
    return table


def _byte_level(pieces: list[str | None]) -> TokenBytes:
    """All pieces at once: one character is one byte, so the pieces' lengths cut the translated whole."""
    present, is_text = _present(pieces, "")
    codes = np.frombuffer("".join(present).encode("utf-16-le", "surrogatepass"), "<u2")
    translated = _byte_of_character()[codes]
    if translated.min(initial=0) < 0:  # a piece outside the alphabet stands for its text, as it does in `tokenizers`
        return TokenBytes.of([None if piece is None else _byte_level_piece(piece) for piece in pieces])
    return TokenBytes(translated.astype(np.uint8).tobytes(), _offsets(present), is_text)


def _byte_level_piece(piece: str) -> bytes:
    bytes_ = _byte_of_character()[np.frombuffer(piece.encode("utf-16-le", "surrogatepass"), "<u2")]
    return piece.encode("utf-8", "surrogatepass") if bytes_.min(initial=0) < 0 else bytes_.astype(np.uint8).tobytes()


def _sentencepiece(pieces: list[str | None]) -> TokenBytes:
    """All pieces at once: the text of the whole, cut where the UTF-8 lengths of the pieces' characters add up."""
    present, is_text = _present(pieces, "")
    text = "".join(present)
    starts = _offsets(present)
    byte_of = _byte_tokens(text, starts)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").copy()
    codes[codes == ord(_SPACE_SYMBOL)] = ord(" ")

    kept = np.ones(len(codes), np.bool_)
    dropped = np.zeros(len(starts), np.int64)
    for token_id in byte_of:  # its first character makes room for the byte, which follows below
        codes[starts[token_id]] = 0
        kept[starts[token_id] + 1 : starts[token_id + 1]] = False
        dropped[token_id + 1] = starts[token_id + 1] - starts[token_id] - 1
    codes, starts = codes[kept], starts - np.cumsum(dropped)

    offsets = _utf8_offsets(codes)[starts]
    data = bytearray(codes.tobytes().decode("utf-32-le", "surrogatepass").encode("utf-8", "surrogatepass"))
    for token_id, byte in byte_of.items():
        data[offsets[token_id]] = byte
    return TokenBytes(bytes(data), offsets, is_text)


def _byte_tokens(text: str, starts: npt.NDArray[np.int64]) -> dict[int, int]:
    """The ids of the pieces that spell a byte, ``<0xE9>``, and that byte; ``text`` is all pieces in a row."""
    found = {}
    for match in _BYTE_TOKEN.finditer(text):
        token_id = int(np.searchsorted(starts, match.start(), side="right")) - 1
        if starts[token_id] == match.start() and starts[token_id + 1] == match.end():
            found[token_id] = int(match[1], 16)
    return found


def _utf8_offsets(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Where the bytes of each character (a code point) begin in UTF-8, and where the last one's end."""
    widths = np.ones(len(codes), np.uint8)
    for longer in (0x80, 0x800, 0x10000):
        widths += codes >= longer
    offsets = np.zeros(len(codes) + 1, np.int64)
    np.cumsum(widths, out=offsets[1:])
    return offsets


def _with_added_tokens(tokens: TokenBytes, tokenizer: Any) -> TokenBytes:
    """Added tokens stand for their text; special, control and empty ones for none."""
    replaced: dict[int, bytes | None] = dict.fromkeys(_never_text(tokenizer))
    for token_id, added in _added_tokens(tokenizer).items():
        replaced[token_id] = None if added.special else added.content.encode()
    offsets, is_text = tokens.offsets, tokens.is_text
    is_text = np.where(np.diff(offsets) == 0, 0, is_text).astype(np.uint8)  # an empty token would only stall a text
    if all(token is None for token in replaced.values()):
        is_text[[token_id for token_id in replaced if token_id < len(is_text)]] = 0
        return replace(tokens, is_text=is_text)
    listed = replace(tokens, is_text=is_text).to_list()
    listed += [None] * (max(replaced) + 1 - len(listed))
    for token_id, token in replaced.items():
        listed[token_id] = token or None
    return TokenBytes.of(listed)


def _added_tokens(tokenizer: Any) -> dict[int, Any]:
    if hasattr(tokenizer, "added_tokens_decoder"):
        return dict(tokenizer.added_tokens_decoder)
    return dict(tokenizer.get_added_tokens_decoder())  # a plain tokenizers.Tokenizer


def _never_text(tokenizer: Any) -> list[int]:
    """Ids that the tokenizer itself keeps out of texts: its special tokens, SentencePiece's control pieces."""
    never = list(getattr(tokenizer, "all_special_ids", []))
    model = getattr(tokenizer, "sp_model", None)
    if model is not None:
        never += [
            piece
            for piece in range(model.get_piece_size())
            if model.is_control(piece) or model.is_unknown(piece) or model.is_unused(piece)
        ]
    return never


def _present(tokens: Sequence[_T | None], empty: _T) -> tuple[Sequence[_T], npt.NDArray[np.uint8]]:
    """The tokens with ``empty`` in place of ``None``, and which were not ``None``."""
    is_text = np.ones(len(tokens), np.uint8)
    if None not in tokens:
        return cast("Sequence[_T]", tokens), is_text
    is_text[[i for i, token in enumerate(tokens) if token is None]] = 0
    return [empty if token is None else token for token in tokens], is_text


def _offsets(tokens: Sequence[str | bytes]) -> npt.NDArray[np.int64]:
    """Where each token begins when all stand in a row, and where the last one ends."""
    offsets = np.zeros(len(tokens) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, tokens), np.int64, len(tokens)), out=offsets[1:])
    return offsets
