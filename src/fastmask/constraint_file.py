"""The file format of a constraint: versioned, checked before anything in it is believed, canonical.

All numbers are little-endian.

====== ======== =============================================================================
offset bytes    what
====== ======== =============================================================================
0      8        magic ``fastmask``
8      4        version of the format, 1
12     4        kind: 0 = byte automaton, 1 = token table
16     8        size of the payload, which ends the file
24     32       sha256 of the payload
56     32       payload: sha256 of the vocabulary (``Vocabulary.fingerprint``)
88     ...      payload: the arrays of the kind in the order of its fields below, each as its number of
                elements (uint64), its element type (4 bytes, numpy's name padded with spaces) and its data
====== ======== =============================================================================

The automaton is canonical (minimal, numbered breadth-first), so equal constraints give equal bytes.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from fastmask import _core
from fastmask.errors import FileFormatError, InputError, RegexError, VocabularyError
from fastmask.vocabulary import Vocabulary

__all__ = ["automaton_from_bytes", "automaton_to_bytes"]

_MAGIC = b"fastmask"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQ32s")
_ARRAY = struct.Struct("<Q4s")

_DFA, _TABLE = 0, 1
# The element types of each kind's arrays, in order: what each kind's to_arrays() returns. Flags: bit 0 = the text may
# end in this state, bit 1 = tokens that are not text may come (while a constraint waits for a text, see behind.h).
_FIELDS = {
    _DFA: ("<u1", "<i4", "<u1", "<i4"),  # class_of [256], initial [1], flags [states], next [states * classes]
    _TABLE: ("<i4", "<i4", "<i4", "<i4"),  # from_states [m], tokens [m], to_states [m], final states
}


def automaton_to_bytes(automaton: _core.Automaton | _core.TokenTable, vocabulary: Vocabulary) -> bytes:
    """The bytes of a constraint; the automaton may be of either kind."""
    kind = _TABLE if isinstance(automaton, _core.TokenTable) else _DFA
    arrays: tuple[npt.NDArray[Any], ...] = automaton.to_arrays()
    parts = [bytes.fromhex(vocabulary.fingerprint)]
    for array, dtype in zip(arrays, _FIELDS[kind], strict=True):
        parts += [_ARRAY.pack(array.size, dtype[1:].encode().ljust(4)), array.astype(dtype, copy=False).tobytes()]
    payload = b"".join(parts)
    return _HEADER.pack(_MAGIC, _VERSION, kind, len(payload), hashlib.sha256(payload).digest()) + payload


def automaton_from_bytes(data: bytes, vocabulary: Vocabulary) -> _core.Automaton | _core.TokenTable:
    """The automaton that :func:`automaton_to_bytes` wrote.

    Raises:
        FileFormatError: anything but an undamaged file of this version.
        VocabularyError: the file was made for another vocabulary.
    """
    kind, payload = _checked_payload(data)
    if payload[:32].hex() != vocabulary.fingerprint:
        raise VocabularyError(
            f"this constraint was made for a vocabulary with fingerprint {payload[:6].hex()}…, the one given has"
            f" {vocabulary.fingerprint[:12]}…: give the same tokenizer, size and EOS ids, or compile it again"
        )
    a, b, c, d = _arrays(memoryview(payload)[32:], _FIELDS[kind])
    try:
        if kind == _DFA:
            return _core.Automaton.from_arrays(a, b, c, d)
        return _core.TokenTable.from_arrays(a, b, c, d, vocabulary.size, list(vocabulary.eos_token_ids))
    except (InputError, RegexError) as error:  # a sound checksum over an unsound table
        raise FileFormatError(f"this constraint's automaton is damaged: {error}") from error


def _checked_payload(data: bytes) -> tuple[int, bytes]:
    if len(data) < _HEADER.size:
        raise FileFormatError(f"a constraint's file has at least {_HEADER.size} bytes, this one has {len(data)}")
    magic, version, kind, size, digest = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise FileFormatError(f"this is no fastmask constraint: it begins with {magic!r}, not with {_MAGIC!r}")
    if version != _VERSION:
        raise FileFormatError(f"this constraint's format has version {version}, this fastmask reads version {_VERSION}")
    if kind not in _FIELDS:
        raise FileFormatError(f"this constraint is of kind {kind}, which this fastmask does not know")
    if size != len(data) - _HEADER.size:
        raise FileFormatError(
            f"the header speaks of {size} bytes, {len(data) - _HEADER.size} follow: the file is cut or damaged"
        )
    payload = bytes(memoryview(data)[_HEADER.size :])
    if hashlib.sha256(payload).digest() != digest or size < 32:
        raise FileFormatError("the checksum does not fit: the file is damaged")
    return kind, payload


def _arrays(payload: memoryview, dtypes: tuple[str, ...]) -> list[npt.NDArray[Any]]:
    arrays, offset = [], 0
    for dtype in dtypes:
        if len(payload) - offset < _ARRAY.size:
            raise FileFormatError("the file ends inside the list of arrays")
        count, name = _ARRAY.unpack_from(payload, offset)
        offset += _ARRAY.size
        width = np.dtype(dtype).itemsize
        if name.rstrip() != dtype[1:].encode() or count > (len(payload) - offset) // width:
            raise FileFormatError(f"an array of {count} elements of type {name!r} does not fit the file")
        arrays.append(np.frombuffer(payload, dtype, count, offset).astype(dtype[1:]))
        offset += count * width
    if offset != len(payload):
        raise FileFormatError(f"{len(payload) - offset} bytes follow the last array")
    return arrays
