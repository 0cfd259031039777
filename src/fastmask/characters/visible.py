"""Text as it can be seen: nothing invisible, nothing that moves what stands around it."""

from __future__ import annotations

__all__ = ["quoted", "visible"]

_LONE_BYTE = 0xDC00  # Python's "surrogateescape": a byte that is no UTF-8 stands at U+DC00 + byte


def visible(text: bytes | str) -> str:
    """``text`` with every character that cannot be seen escaped, and every byte that is no UTF-8 as ``\\x…``.

    Control characters, marks that turn the direction of writing and spaces other than U+0020 are such characters.
    A backslash is left as it is, so the result is for eyes and cannot be read back.
    """
    decoded = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
    return decoded if decoded.isprintable() else "".join(map(_seen, decoded))


def quoted(text: bytes | str) -> str:
    """``text`` made visible, between quotation marks of the kind that it does not hold itself."""
    shown = visible(text)
    return f"'{shown}'" if '"' in shown else f'"{shown}"'


def _seen(character: str) -> str:
    code = ord(character)
    if character.isprintable():
        return character
    if _LONE_BYTE + 0x80 <= code <= _LONE_BYTE + 0xFF:
        return f"\\x{code - _LONE_BYTE:02x}"
    if code < 0x80:
        return character.encode("unicode_escape").decode()
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
