"""The compiled kernel. Not public; arrays are C-contiguous and of exactly these dtypes, never converted."""

from typing import Any, overload

import numpy as np
import numpy.typing as npt

_I32 = npt.NDArray[np.int32]
_I64 = npt.NDArray[np.int64]
_U64 = npt.NDArray[np.uint64]
_U8 = npt.NDArray[np.uint8]
_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]

FREE: int
"""0, the state of positions before the start: no constraint here, every token allowed."""
DONE: int
"""1, the state behind EOS of a complete text: only EOS allowed."""
DEAD: int
"""2, the state of a broken text: only EOS allowed, so that no row is ever empty."""
INITIAL: int

def num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def recycled(bytes: int) -> _U8: ...
def drop_waiting_memory() -> None: ...
def flat_rows(rows: list[list[int]]) -> tuple[_I32, _I64] | None: ...
def misspelled(vocabulary: Vocabulary, tokens: _I32, offsets: _I64, texts: list[str]) -> list[int]: ...

class Vocabulary:
    def __init__(self, bytes: bytes, offsets: _I64, is_text: _U8, size: int, eos_ids: list[int]) -> None: ...
    def spell(self, tokens: _I32) -> bytes: ...
    @property
    def nbytes(self) -> int: ...

class Automaton:
    @staticmethod
    def from_regex(
        pattern: bytes, max_seconds: float, max_states: int, max_bytes: int, first_choice: bool = False
    ) -> Automaton: ...
    @staticmethod
    def from_transitions(
        from_states: _I32, bytes: _U8, to_states: _I32, num_states: int, initial: int, finals: _I32
    ) -> Automaton: ...
    @staticmethod
    def from_arrays(class_of: _U8, initial: _I32, flags: _U8, next: _I32) -> Automaton: ...
    def behind(self, trigger: bytes) -> Automaton: ...
    def to_arrays(self) -> tuple[_U8, _I32, _U8, _I32]: ...
    @property
    def num_states(self) -> int: ...
    @property
    def num_classes(self) -> int: ...

class TokenTable:
    @staticmethod
    def from_transitions(
        from_states: _I32,
        tokens: _I32,
        to_states: _I32,
        finals: _I32,
        num_states: int,
        initial: int,
        vocab_size: int,
        eos_ids: list[int],
    ) -> TokenTable: ...
    @staticmethod
    def from_arrays(
        from_states: _I32, tokens: _I32, to_states: _I32, finals: _I32, vocab_size: int, eos_ids: list[int]
    ) -> TokenTable: ...
    def to_arrays(self) -> tuple[_I32, _I32, _I32, _I32]: ...

class Engine:
    @overload
    def __init__(self, automaton: Automaton, vocabulary: Vocabulary) -> None: ...
    @overload
    def __init__(self, table: TokenTable) -> None: ...
    @property
    def num_states(self) -> int: ...
    @property
    def num_masks(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def final_states(self) -> _U8: ...
    def walk(
        self,
        tokens: _I32 | _I64,
        offsets: _I64,
        lengths: _I64,
        start: _I64 | None,
        after: int,
        first_states: _I32 | None,
        out: _I32,
    ) -> None: ...
    def walk_flat(
        self,
        tokens: _I32 | _I64,
        offsets: _I64,
        lengths: _I64,
        start: _I64 | None,
        after: int,
        first_states: _I32 | None,
        out: _I32,
    ) -> None: ...
    def walk_trees(self, roots: _I32, tokens: _I32 | _I64, parents: _I64, width: int) -> _I32: ...
    def advance(self, states: _I32, tokens: _I32 | _I64) -> _I32: ...
    def token_classes(self, max_bytes: int) -> tuple[_I32, _I32]: ...
    def row_numbers(self) -> _I32: ...
    def packed_rows(self, states: _I32, out: _I32) -> None: ...
    def allows(self, states: _I32, tokens: _I64) -> npt.NDArray[np.bool_]: ...
    def select_rows(
        self, states: _I32, rows: _I64 | None, scores: npt.NDArray[Any], forbidden: int, out: npt.NDArray[Any]
    ) -> npt.NDArray[np.bool_]: ...
    def bool_rows(self, states: _I32, out: npt.NDArray[np.bool_]) -> None: ...

class Replay:
    def __init__(self, engine: Engine, after: int | None) -> None: ...
    def read(self, tokens: _I64) -> tuple[_I32, _U64, _U64]: ...

class Logits:
    def __init__(self, bits: npt.NDArray[Any], dtype: str, starts: _I64, width: int) -> None: ...

def divergence(
    engine: Engine,
    states: _I32,
    teacher: Logits,
    student: Logits,
    penalties: _F32,
    mask_on: str,
    temperature: float,
    reverse: bool,
    shares: tuple[float, float] | None,
    upstream: _F32 | None,
    gradient: npt.NDArray[Any] | None,
) -> _F32: ...
def log_masses(
    engine: Engine, states: _I32, logits: Logits, temperature: float, left_out: _I32
) -> tuple[_F64, _F64]: ...
def log_mass_gradient(
    engine: Engine,
    states: _I32,
    logits: Logits,
    temperature: float,
    left_out: _I32,
    allowed: _F64,
    disallowed: _F64,
    gradient: npt.NDArray[Any],
) -> None: ...
def penalized_rows(engine: Engine, states: _I32, logits: Logits, penalties: _F32, out: npt.NDArray[Any]) -> None: ...
def exponentials(values: _F32) -> _F32: ...
def logarithms(values: _F32) -> _F32: ...
