"""The only importer of outlines-core: JSON schema → regex, regex → byte automaton, an Index's own table.

outlines-core is imported when a constraint is compiled, never by ``import fastmask``.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from fastmask.errors import InputTypeError, RegexError, SchemaError, VocabularyError

if TYPE_CHECKING:
    from outlines_core import Index

__all__ = ["Table", "byte_table", "index_table", "schema_to_regex"]

# An alphabet of the 256 single bytes: the Index over it is the byte-level DFA itself.
_BYTE_EOS = 256


class Table(NamedTuple):
    """A deterministic automaton as flat arrays; states are 0 … ``num_states - 1``, EOS left out."""

    from_states: npt.NDArray[np.int32]  # [m]
    symbols: npt.NDArray[np.int32]  # [m] bytes or token ids
    to_states: npt.NDArray[np.int32]  # [m]
    num_states: int
    initial: int
    finals: npt.NDArray[np.int32]


def schema_to_regex(schema: str, whitespace: str | None = None) -> str:
    """The regular expression of the JSON texts that satisfy a schema, as outlines-core translates it.

    Raises:
        SchemaError: the text is no JSON, or outlines-core cannot translate it.
    """
    from outlines_core.json_schema import build_regex_from_schema

    try:
        regex: str = build_regex_from_schema(schema, whitespace)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]  # the others ask for an issue in outlines-core's tracker
        raise SchemaError(f"this JSON schema cannot be translated: {reason[:200]}") from error
    return regex


def byte_table(regex: str) -> Table:
    """The byte-level DFA of a regular expression, as outlines-core builds it.

    Raises:
        RegexError: the pattern does not parse or uses what a DFA cannot express.
    """
    from outlines_core import Index, Vocabulary

    alphabet = Vocabulary(_BYTE_EOS, {bytes([byte]): [byte] for byte in range(256)})
    try:
        index = Index(regex, alphabet)
    except ValueError as error:
        shown = regex if len(regex) <= 200 else f"{regex[:200]}… ({len(regex):,} characters)"
        raise RegexError(
            f"the pattern {shown!r} cannot be compiled: {error}. It must match the whole text; a leading ^, \\b,"
            " look-around and back-references are not supported"
        ) from error
    return _table(index, _BYTE_EOS)


def index_table(index: Index, eos_token_ids: tuple[int, ...]) -> Table:
    """The token-level table of an Index that the user built.

    Raises:
        InputTypeError: not an ``outlines_core.Index``.
        VocabularyError: the Index's own EOS is none of ``eos_token_ids``.
    """
    from outlines_core import Index

    if not isinstance(index, Index):
        raise InputTypeError(f"from_index takes an outlines_core.Index, got {type(index).__name__}")
    foreign = _own_eos(index) - set(eos_token_ids)
    if foreign:
        raise VocabularyError(
            f"the index ends a text with token id {min(foreign)}, this vocabulary with {eos_token_ids}; pass"
            " eos_token_id=… to the Vocabulary, with all the ids that end a text"
        )
    return _table(index, *eos_token_ids)


def _own_eos(index: Index) -> set[int]:
    """The EOS id, which an Index does not name: every final state allows it, yet it leads from there to no state."""
    finals = index.get_final_states()
    if not finals:
        return set()
    state = min(finals)
    return {token for token in index.get_allowed_tokens(state) if index.get_next_state(state, token) is None}


def _table(index: Index, *eos_ids: int) -> Table:
    """Flattens ``get_transitions()``; sparse state ids become dense, in ascending order."""
    transitions = index.get_transitions()
    sizes = [len(row) for row in transitions.values()]
    count = sum(sizes)
    sources = np.repeat(np.fromiter(transitions, np.int64, len(transitions)), sizes)
    symbols = np.fromiter(chain.from_iterable(transitions.values()), np.int64, count)
    targets = np.fromiter(chain.from_iterable(row.values() for row in transitions.values()), np.int64, count)

    initial = index.get_initial_state()
    finals = np.array(sorted(index.get_final_states()), dtype=np.int64)
    states = np.unique(np.concatenate([sources, targets, finals, [initial]]))
    text = ~np.isin(symbols, eos_ids)
    return Table(
        from_states=_dense(states, sources[text]),
        symbols=symbols[text].astype(np.int32),
        to_states=_dense(states, targets[text]),
        num_states=len(states),
        initial=int(np.searchsorted(states, initial)),
        finals=_dense(states, finals),
    )


def _dense(states: npt.NDArray[np.int64], ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Positions of the ids among all states, ascending."""
    return np.searchsorted(states, ids).astype(np.int32)
