"""A constraint: one automaton, one vocabulary; tokens → states → masks."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastmask import _core, outlines
from fastmask.characters import Characters
from fastmask.constraint_file import automaton_from_bytes, automaton_to_bytes
from fastmask.distances import Distances
from fastmask.errors import FileFormatError, InputError, InputTypeError, TokenRangeError, VocabularyError
from fastmask.forced import ForcedBytes
from fastmask.regex import MAX_BYTES, compile_regex, literal, require_options
from fastmask.rows import (
    BOOL,
    INT32,
    integer,
    is_plain,
    like,
    plain,
    state_array,
    strings,
    writable,
)
from fastmask.schema import require_enforced, require_translatable, schema_text, translate
from fastmask.transitions import MAX_TABLE_BYTES, Transitions
from fastmask.vocabulary import Vocabulary
from fastmask.walks import Walks
from fastmask.whole_file import write_whole

if TYPE_CHECKING:
    from outlines_core import Index

    from fastmask.on_device import OnDevice

__all__ = ["Constraint"]


class Constraint(Walks):
    """Which tokens keep a text within a format, for every position of a batch at once.

    Made by :meth:`from_schema`, :meth:`from_regex`, :meth:`from_choices` or :meth:`from_index`.

    A *state* is one integer, 0 … ``num_states - 1``, and the mask is a function of it. Three states exist for
    every constraint: ``fm.FREE`` (no constraint here, every token allowed), ``fm.DONE`` (complete, EOS was
    read; only EOS allowed) and ``fm.DEAD`` (broken; only EOS allowed, so that no row is ever empty).

    **Alignment**: ``states[b, t]`` is the state after reading ``tokens[b, start[b] : t+1]``, so its mask goes
    with ``logits[b, t]``, the prediction of token ``t+1``. Before ``start[b] - 1`` the state is FREE, at
    ``start[b] - 1`` it is ``initial_state``.

    Arrays are numpy in, numpy out; torch in, torch out on the same device. Nothing is mutable but caches of
    masks and transitions: share a constraint between threads and processes freely; pickling keeps its states'
    numbers.
    """

    def __init__(self, vocabulary: Vocabulary, automaton: _core.Automaton | _core.TokenTable, source: str) -> None:
        """Not public: use the constructors named ``from_…``."""
        self._vocabulary = vocabulary
        self._automaton = automaton
        self._source = source  # for people: what the constraint was made of
        if isinstance(automaton, _core.Automaton):
            self._engine = _core.Engine(automaton, vocabulary.core)
        else:
            self._engine = _core.Engine(automaton)
        self._row_words = (vocabulary.size + 31) // 32  # of a packed mask
        self._final = self._engine.final_states().astype(bool)  # [num_states]
        self._distances: Distances | None = None  # made when first needed, under the lock
        self._table: Transitions | None = None  # likewise
        self._on_device: dict[str, OnDevice] = {}  # likewise
        self._table_lock = threading.RLock()

    # ---- making one -------------------------------------------------------------------------------------

    @classmethod
    def from_schema(
        cls, schema: Any, vocabulary: Vocabulary, whitespace: str | None = None, strict: bool = True, **options: Any
    ) -> Constraint:
        """The JSON texts that satisfy a schema.

        Args:
            schema: a pydantic model, anything ``pydantic.TypeAdapter`` takes, a JSON-schema dict, its text, or the
                ``pathlib.Path`` of a file with that text.
            vocabulary: the model's vocabulary.
            whitespace: regular expression of what may stand between the parts of the JSON; ``None``: one space
                or none (``json.dumps`` with any of its usual separators fits; an indented text does not);
                ``r"[ \\t\\n\\r]*"``: all that JSON allows.
            strict: refuse a schema of which a part would not be enforced; ``False`` warns instead.
            options: the builder and its budgets, as for :meth:`from_regex`.

        Raises:
            SchemaError: the schema is malformed or cannot be translated.
            UnsupportedSchemaError: with ``strict``, a keyword would silently be dropped or weakened.
            CompileLimitError: a budget was passed.
            RegexError: ``whitespace`` does not parse, or no text at all satisfies the schema.
            InputError, InputTypeError: an option unknown or out of range, a ``whitespace`` that JSON does not allow,
                a ``vocabulary`` that is none, or a schema of a type of which pydantic makes none.
            OSError: the schema's file cannot be read.
        """
        _require(vocabulary)
        require_options("from_schema", options, "whitespace", "strict")
        text = schema_text(schema)
        require_enforced(text, strict)
        require_translatable(text, options.get("max_bytes", MAX_BYTES))
        regex = translate(text, whitespace)
        name = schema.name if isinstance(schema, Path) else getattr(schema, "__name__", None)
        source = f"schema {name}" if name else "a JSON schema"
        return cls(vocabulary, compile_regex(regex, **options), source)

    @classmethod
    def from_regex(cls, regex: str, vocabulary: Vocabulary, **options: Any) -> Constraint:
        """The texts that a regular expression matches as a whole.

        The dialect is that of Rust's ``regex`` crate without anchors, ``\\b``, look-around and back-references:
        https://docs.rs/regex/latest/regex/#syntax

        Args:
            regex: the pattern.
            vocabulary: the model's vocabulary.
            options: ``max_seconds=30``, ``max_states=250_000`` and ``max_bytes=2 << 30``, the budgets of the
                compilation; ``builder="outlines"`` compiles with outlines-core instead, without budgets.

        Raises:
            RegexError: the pattern does not parse, or matches no text at all.
            CompileLimitError: a budget was passed.
            InputError, InputTypeError: an option unknown or out of range, a pattern that is no string, or a
                ``vocabulary`` that is none.
        """
        _require(vocabulary)
        require_options("from_regex", options)
        automaton = compile_regex(regex, **options)
        shown = regex if len(regex) <= 60 else regex[:60] + "…"
        return cls(vocabulary, automaton, f"regex {shown!r}")

    @classmethod
    def from_choices(cls, choices: Iterable[str], vocabulary: Vocabulary, **options: Any) -> Constraint:
        """Exactly one of the given texts. ``options`` as for :meth:`from_regex`.

        Raises:
            InputTypeError: ``choices`` that are no list of strings, an unknown option, or no ``vocabulary``.
            InputError: no choice at all, or an option out of range.
            RegexError: a choice that is no Unicode text.
            CompileLimitError: a budget was passed.
        """
        _require(vocabulary)
        require_options("from_choices", options)
        listed = strings(choices, "choices")
        if not listed:
            raise InputError("choices is empty: a constraint needs at least one text")
        regex = "|".join(map(literal, listed))
        return cls(vocabulary, compile_regex(regex, **options), f"{len(listed)} choices")

    @classmethod
    def from_index(cls, index: Index, vocabulary: Vocabulary) -> Constraint:
        """The language of an ``outlines_core.Index`` that you already have, walked as it is.

        Its states are renumbered; everything else is its own, also where its vocabulary differs from the bytes
        that ``vocabulary`` knows. ``vocabulary`` gives the logits' width and the EOS ids, to which the Index's
        own EOS must belong.

        Raises:
            VocabularyError: the Index uses token ids beyond ``vocabulary``, or ends on a token that does not.
            InputTypeError: not an ``outlines_core.Index``, or a ``vocabulary`` that is none.
        """
        _require(vocabulary)
        table = outlines.index_table(index, vocabulary.eos_token_ids)
        if table.symbols.size and table.symbols.max() >= vocabulary.size:
            raise VocabularyError(
                f"the index allows token id {table.symbols.max()}, beyond the {vocabulary.size:,} of this vocabulary;"
                " was it built for another tokenizer?"
            )
        automaton = _core.TokenTable.from_transitions(
            table.from_states, table.symbols, table.to_states, table.finals, table.num_states, table.initial,
            vocabulary.size, list(vocabulary.eos_token_ids),
        )  # fmt: skip
        return cls(vocabulary, automaton, "an outlines_core.Index")

    @classmethod
    def load(cls, path: str | os.PathLike[str], vocabulary: Vocabulary) -> Constraint:
        """The constraint that :meth:`save` wrote, with the same state numbers.

        Raises:
            FileFormatError: the file, which is named, is no constraint, is damaged or has another version.
            VocabularyError: it was made for another vocabulary.
            InputTypeError: a ``vocabulary`` that is none.
            OSError: it cannot be read.
        """
        _require(vocabulary)
        try:
            return _restore(Path(path).read_bytes(), vocabulary, f"file {Path(path).name}")
        except (FileFormatError, VocabularyError) as error:
            raise type(error)(f"{path}: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the constraint, without its vocabulary, to one file; the format is told in ``constraint_file.py``.

        Equal constraints give equal files. An existing file is replaced as a whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        write_whole(path, self._to_bytes())

    def after(self, text: str) -> Constraint:
        """This constraint behind the first occurrence of ``text``, and no constraint before it.

        For a model that thinks first and then must answer: ``con.after("<answer>")``. Up to the end of ``text``
        every token may come, special tokens too, but EOS may not, nor a token that holds the end of ``text`` and
        goes on as this constraint forbids. ``text`` is looked for in the bytes of the tokens joined, wherever
        they are cut. Special tokens have no bytes: they leave a half-found ``text`` half found, and are never
        part of it (behind one special token: ``walk(start=fm.after(token_id))``). Ids beyond the vocabulary's
        tokens stay forbidden. Where generation stops on several ids, the vocabulary must know all of them as EOS
        (``model.generation_config.eos_token_id``), or one of them may come while thinking.

        Raises:
            InputTypeError: ``text`` is not a string.
            InputError: ``text`` is empty or no Unicode text, or this constraint was made by :meth:`from_index`, which
                knows tokens and no bytes.
        """
        trigger = _trigger_bytes(text)
        return Constraint(self._vocabulary, self._byte_automaton().behind(trigger), f"{self._source} after {text!r}")

    # ---- what it is -------------------------------------------------------------------------------------

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that the constraint was made for."""
        return self._vocabulary

    @property
    def core(self) -> _core.Engine:
        """The kernel's form, for fastmask's own modules."""
        return self._engine

    @property
    def vocab_size(self) -> int:
        """Width of the logits and of boolean masks."""
        return self._vocabulary.size

    @property
    def num_states(self) -> int:
        """Number of states, FREE, DONE and DEAD included."""
        return self._engine.num_states

    @property
    def num_masks(self) -> int:
        """Number of distinct masks computed so far."""
        return self._engine.num_masks

    @property
    def nbytes(self) -> int:
        """Bytes of the automaton and of what was made of it so far, without the vocabulary and its trie."""
        return self._engine.nbytes + sum(made.nbytes for made in (self._distances, self._table) if made is not None)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of automaton and vocabulary: equal exactly where all states and masks are."""
        return hashlib.sha256(self._to_bytes()).hexdigest()

    @property
    def initial_state(self) -> int:
        """The state before the first constrained token."""
        return _core.INITIAL

    @property
    def finals(self) -> npt.NDArray[np.bool_]:
        """bool [num_states]: may the text end here?"""
        return self._final

    def is_final(self, states: Any) -> Any:
        """May the text end here? ``bool`` for one state, bool [...] for an array of states.

        True for DONE, false for FREE and DEAD.

        Raises:
            TokenRangeError: a state outside 0 … ``num_states - 1``.
            InputTypeError: not integers.
        """
        ids = self._states(states)
        return plain(like(self._final[ids], states))

    # ---- states → the end ------------------------------------------------------------------------------

    def distance(self, states: Any) -> Any:
        """The fewest tokens from each state to one where the text may end: int32 [...]; one ``int`` for one state.

        0 where the text may end here, and for DONE and FREE; EOS is not counted. -1 where it can never end: DEAD,
        and states that need a byte which no token of the vocabulary can spell.

        Args:
            states: integers [...].

        The first call finds out for all states, and the constraint keeps it.

        Raises:
            TokenRangeError: a state outside 0 … ``num_states - 1``.
            InputTypeError: not integers.
        """
        ids = self._states(states)
        return plain(like(self.distances.to_end[ids], states))

    @property
    def distances(self) -> Distances:
        """The same for all states, for fastmask's own modules; made by whoever needs it first, and kept."""
        with self._table_lock:
            if self._distances is None:
                self._distances = Distances(self._engine)
            return self._distances

    # ---- states → masks ---------------------------------------------------------------------------------

    def bitmask(self, states: Any, out: Any = None) -> Any:
        """Packed masks: int32 [..., ceil(vocab_size / 32)] from states [...].

        Bit ``i % 32`` of word ``i // 32`` is token ``i``; 1 = allowed; bits past the vocabulary are 0.
        ``out``: a contiguous array or CPU tensor of that shape to write to instead of a new one.

        Raises:
            TokenRangeError: a state outside 0 … ``num_states - 1``.
            InputError, InputTypeError: ``out`` does not fit, or states that are not integers.
        """
        return self._masks(states, out, self._row_words, INT32, self._engine.packed_rows)

    def allowed(self, states: Any, out: Any = None) -> Any:
        """Boolean masks: bool [..., vocab_size] from states [...]; True = allowed.

        ``out`` and errors as for :meth:`bitmask`.
        """
        return self._masks(states, out, self.vocab_size, BOOL, self._engine.bool_rows)

    def allowed_tokens(self, state: int) -> npt.NDArray[np.int32]:
        """The ids allowed in one state, ascending int32; EOS among them where the text may end.

        Raises:
            TokenRangeError: a state outside 0 … ``num_states - 1``.
            InputTypeError: not one integer.
        """
        return np.flatnonzero(self.allowed(integer(state, "state"))).astype(np.int32)

    def forced(self, state: int) -> npt.NDArray[np.int32]:
        """The token ids that must come next, as far as there is no choice: int32, often empty, EOS included.

        A choice between spellings is a choice: where a vocabulary has both ``{"`` and ``{``, neither is forced.

        Raises:
            TokenRangeError: a state outside 0 … ``num_states - 1``.
            InputTypeError: not one integer.
        """
        forced: list[int] = []
        state = integer(state, "state")
        passed = set()
        while state not in passed:
            passed.add(state)
            tokens = self.allowed_tokens(state)
            if len(tokens) != 1:
                break
            forced.append(int(tokens[0]))
            state = self.advance(state, forced[-1])
        return np.array(forced, dtype=np.int32)

    def forced_bytes(self, state: int) -> bytes:
        """The bytes that must come next, as far as there is no choice and the text may not end before.

        Independent of how a vocabulary would spell them; empty for FREE, DONE and DEAD.

        Raises:
            InputError: the constraint was made by :meth:`from_index`, which knows tokens and no bytes.
            TokenRangeError: a state outside 0 … ``num_states - 1``.
            InputTypeError: not one integer.
        """
        index = int(self._states(integer(state, "state")))
        return self._forced_bytes.after(index)

    @cached_property
    def _forced_bytes(self) -> ForcedBytes:
        return ForcedBytes(self._byte_automaton())

    @property
    def knows_bytes(self) -> bool:
        """Is there an automaton of bytes behind it? Not with :meth:`from_index`, which knows tokens alone."""
        return isinstance(self._automaton, _core.Automaton)

    @cached_property
    def characters(self) -> Characters:
        """The automaton read by whole characters, for fastmask's own modules.

        Raises:
            InputError: the constraint was made by :meth:`from_index`, which knows tokens and no bytes.
        """
        return Characters(self._byte_automaton())

    def _byte_automaton(self) -> _core.Automaton:
        if not isinstance(self._automaton, _core.Automaton):
            raise InputError(
                "a constraint from an outlines_core.Index knows no bytes; make it from_regex or from_schema"
            )
        return self._automaton

    def on(self, device: Any, max_bytes: int = MAX_TABLE_BYTES) -> OnDevice:
        """The same states and masks as tensors on ``device``, for decoding without a look at the host; needs torch.

        Made once for each device, and kept.

        Args:
            device: anything that ``torch.device`` takes.
            max_bytes: budget of the tensors on the device.

        Raises:
            CompileLimitError: the tensors would take more than ``max_bytes``; the message names what does.
            InputTypeError: not a device, or ``max_bytes`` is not an integer.
        """
        from fastmask.on_device import OnDevice

        budget = integer(max_bytes, "max_bytes")
        with self._table_lock:
            made = self._on_device.get(str(device))
            if made is None or made.nbytes > budget:
                table, row_of = self.transitions(budget), self._engine.row_numbers()
                made = self._on_device[str(device)] = OnDevice.of(self, table, row_of, device, budget)
            return made

    def transitions(self, max_bytes: int = MAX_TABLE_BYTES) -> Transitions:
        """All transitions as one table, for fastmask's own modules; made by whoever needs it first, and kept.

        Raises:
            CompileLimitError: it would take more than ``max_bytes``.
            InputTypeError: ``max_bytes`` is not an integer.
        """
        budget = integer(max_bytes, "max_bytes")
        with self._table_lock:
            if self._table is None:
                self._table = Transitions(self._engine, budget)
            return self._table

    def _masks(self, states: Any, out: Any, width: int, dtype: Any, fill: Any) -> Any:
        if is_plain(states, INT32) and is_plain(out, dtype) and out.shape == (*states.shape, width):
            fill(states, out)  # a decoder asks for one mask at a time, and most of that would be our questions
            return out
        ids = state_array(states)
        shape = (*ids.shape, width)
        rows = np.empty(shape, dtype) if out is None else writable(out, shape, dtype)
        fill(ids.reshape(-1), rows)
        return like(rows, states) if out is None else out

    def _states(self, states: Any) -> npt.NDArray[np.int32]:
        ids = state_array(states)
        outside = ids[(ids < 0) | (ids >= self.num_states)]
        if outside.size:
            raise TokenRangeError(
                f"state {outside[0]} lies outside 0 … {self.num_states - 1}, the states of this constraint"
            )
        return ids

    def _to_bytes(self) -> bytes:
        return automaton_to_bytes(self._automaton, self._vocabulary)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._to_bytes(), self._vocabulary, self._source)

    def __repr__(self) -> str:
        return (
            f"Constraint({self._source}, num_states={self.num_states:,}, num_masks={self.num_masks:,},"
            f" vocab_size={self.vocab_size:,}, nbytes={self.nbytes:,})"
        )


def _restore(data: bytes, vocabulary: Vocabulary, source: str) -> Constraint:
    return Constraint(vocabulary, automaton_from_bytes(data, vocabulary), source)


def _require(vocabulary: Any) -> None:
    if not isinstance(vocabulary, Vocabulary):
        raise InputTypeError(
            f"expected a fastmask.Vocabulary, got {type(vocabulary).__name__}; make one with"
            " fastmask.hf.vocabulary_for(model, tokenizer) or Vocabulary.from_tokenizer(tokenizer)"
        )


def _trigger_bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise InputTypeError(
            f"after() takes the text to wait for, a str, got {text!r}; a token id goes into walk(start=fm.after(id))"
        )
    if not text:
        raise InputError("after() got an empty text: there is nothing to wait for, so use the constraint itself")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"after() got no Unicode text: a lone surrogate at character {error.start}") from error
