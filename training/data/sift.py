"""Which records can be learnt from: each becomes an example, or is left out with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from fastmask import Constraint
from fastmask.canonical import spelling
from fastmask.corpus.expected import mismatch
from fastmask.errors import InputError
from training.data.examples import Example, encode
from training.data.records import Record

NOT_SPELLED = "not spelled by the tokenizer"
REFUSED = "refused by the schema"
TOO_LONG = "too long"
CONTEXT = 60  # characters before a refusal that are shown


@dataclass(frozen=True)
class LeftOut:
    name: str
    place: str  # file:line
    reason: str
    message: str
    tokens: int  # of prompt and answer; 0 where the tokenizer has none for them

    def __str__(self) -> str:
        named = self.place if self.name == self.place else f"{self.place} ({self.name})"
        return f"{named} {self.reason}: {self.message}"


def sift(
    records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, con: Constraint, max_length: int
) -> list[Example | LeftOut]:
    """One for each record, in their order. The schema is asked about all answers in one call."""
    sifted = [_encoded(record, tokenizer, con) for record in records]
    encoded = [(row, found) for row, found in enumerate(sifted) if isinstance(found, Example)]
    checked = con.check([example.answer for _, example in encoded])
    for (row, example), complete, error in zip(encoded, checked.complete, checked.first_error.tolist(), strict=True):
        length = len(example.tokens)
        if not complete:
            sifted[row] = _left_out(records[row], REFUSED, _where_it_broke(example.answer, error, con), length)
        elif length > max_length:
            sifted[row] = _left_out(records[row], TOO_LONG, f"{length:,} tokens, {max_length:,} fit", length)
    return sifted


def _encoded(record: Record, tokenizer: PreTrainedTokenizerBase, con: Constraint) -> Example | LeftOut:
    try:
        return encode(record.name, record.text, record.answer, tokenizer, con.vocabulary)
    except InputError as error:  # it normalises, or lacks a character
        return _left_out(record, NOT_SPELLED, str(error))


def _left_out(record: Record, reason: str, message: str, tokens: int = 0) -> LeftOut:
    return LeftOut(record.name, record.place, reason, message, tokens)


def _where_it_broke(answer: list[int], error: int, con: Constraint) -> str:
    """What could have stood at token `error`, EOS being one, what did, and the end of what was right before."""
    state = con.initial_state
    for token in answer[:error]:
        state = con.advance(state, token)
    wrong = mismatch(con, state, answer[error])
    right = (spelling(answer[:error], con.vocabulary) + wrong.fitting).decode(errors="replace")
    before = f"after {'…' * (len(right) > CONTEXT)}{right[-CONTEXT:]}" if right else "at the beginning"
    return f"expected {wrong.expected}, got {wrong.got}, {before}"
