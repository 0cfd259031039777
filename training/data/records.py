"""What a run learns from: texts and their answers, whatever the task; read from JSONL, split by document."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from training.errors import TrainingError
from training.schema import to_json


@dataclass(frozen=True)
class Record:
    name: str  # what a sample or a complaint calls it
    place: str  # file:line
    document: tuple[str, int | str]  # records of one document never stand on both sides of a split
    text: str
    answer: str


def read_jsonl(paths: Iterable[str | Path]) -> list[Record]:
    """The records of JSONL files, in their order.

    A row is `{"input": text, "answer": text or JSON value}`. A text is taken as it is, so an answer that is a JSON
    string carries its quotation marks; any other value is written in the one spelling of `to_json`. Rows with the
    same `document`, in whatever file, are one document; a row without it is one of its own. Other keys are ignored.

    Raises:
        TrainingError: a file that cannot be read, or a row that is not such, with its line.
    """
    return [_record(path, number, row) for path in map(Path, paths) for number, row in read_rows(path)]


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object of a JSONL file, with the number of its line, from 1. Blank lines are passed over.

    Raises:
        TrainingError: the file cannot be read, or a line is no JSON object in UTF-8.
    """
    try:
        lines = path.read_bytes().split(b"\n")  # a text may hold what Python would take for the end of a line
    except OSError as error:
        raise TrainingError(f"there is no file {path} that can be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except (ValueError, RecursionError) as error:  # of JSON, and of UTF-8, too
            raise TrainingError(f"{path}, line {number}: no JSON: {error}") from None
        if not isinstance(row, dict):
            raise _bad(path, number, row)
        yield number, row


def read_text(path: Path) -> str:
    """A file of text.

    Raises:
        TrainingError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _record(path: Path, number: int, row: dict[str, Any]) -> Record:
    if not isinstance(row.get("input"), str) or "answer" not in row:
        raise _bad(path, number, row)
    place = f"{path.name}:{number}"
    answer = row["answer"] if isinstance(row["answer"], str) else to_json(row["answer"])
    try:
        (row["input"] + answer).encode()
    except UnicodeEncodeError as error:
        raise TrainingError(f"{path}, line {number}: half of a surrogate pair is no text: {error}") from None
    named = row.get("document")
    document = (str(path), f"line {number}") if named is None else ("", to_json(named))
    return Record(place, place, document, row["input"], answer)


def _bad(path: Path, number: int, row: object) -> TrainingError:
    return TrainingError(
        f'{path}, line {number}: expected {{"input": text, "answer": text or JSON value}}, got {row!r:.80}'
    )


AnyRecord = TypeVar("AnyRecord")  # with a `document`


def split_by_document(records: list[AnyRecord], share: float, seed: int) -> tuple[list[AnyRecord], list[AnyRecord]]:
    """(training, held-out): whole documents, drawn until `share` of the records is held out.

    Records of one document share names and topic: drawn one by one, the held-out ones would be half known.
    """
    sizes = Counter(record.document for record in records)
    documents = sorted(sizes)
    random.Random(seed).shuffle(documents)
    held_out: set[tuple[str, int | str]] = set()
    count = 0
    while documents and count < share * len(records):
        count += sizes[documents[-1]]
        held_out.add(documents.pop())
    if not documents or not held_out:
        raise TrainingError(
            f"cannot hold out {share:.0%} of {len(records)} record(s) from {len(held_out)} document(s): "
            "each side of the split needs one; give more documents, or a held-out file of its own"
        )
    return (
        [record for record in records if record.document not in held_out],
        [record for record in records if record.document in held_out],
    )
