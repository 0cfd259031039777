"""Which records of a corpus break their schema: where, what stood there, and what was expected."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from fastmask.canonical import canonical_tokens, spelling
from fastmask.constraint import Constraint
from fastmask.corpus.annotator import Annotator
from fastmask.corpus.constraints import Constraints
from fastmask.corpus.expected import expected, mismatch
from fastmask.corpus.problems import settle
from fastmask.corpus.records import Places, Problem, RecordReader
from fastmask.corpus.summary import tokens_of, verdicts_of
from fastmask.corpus.verdict import BROKEN, CUT_OFF, ERROR, VERDICTS
from fastmask.errors import InputError

__all__ = ["CorpusCheck", "Finding", "check_corpus"]

_CONTEXT = 40  # characters before an error that are shown


class Finding(NamedTuple):
    """One record that is not as its schema wants it."""

    place: str
    """File, line and number of the record."""
    verdict: str
    """``broken``, ``cut off`` or ``error``."""
    token: int | None
    """Index among the record's tokens, prompt included, of the one that broke the schema, or that is missing."""
    character: int | None
    """Characters of the answer that were right."""
    before: str
    """The last of these."""
    message: str
    """``expected "," or "]", got "}"``; of an error, what it is."""

    def __str__(self) -> str:
        where = "" if self.token is None else f", token {self.token}, character {self.character}"
        return f"{self.place}{where}: {self.message}"


@dataclass
class CorpusCheck:
    """What :func:`check_corpus` found."""

    records: int = 0
    """All that were read; the verdicts and ``skipped`` add up to it."""
    tokens: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    """Records of each of the verdicts."""
    skipped: int = 0
    """Records that could not be read or judged, where ``records`` leaves those out."""
    respelled: int = 0
    """Answers whose tokens are not those the tokenizer would give; counted where asked for."""
    findings: list[Finding] = field(default_factory=list)
    """The first of them, in the order of the corpus."""

    @property
    def passed(self) -> bool:
        """Is every record complete, or free?"""
        return not self.skipped and not any(self.verdicts[VERDICTS[v]] for v in (BROKEN, CUT_OFF, ERROR))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        findings = [finding._asdict() for finding in self.findings]
        return {**asdict(self), "verdicts": dict(self.verdicts), "findings": findings, "passed": self.passed}


def check_corpus(records: RecordReader, annotator: Annotator, *, limit: int = 20, tokenizer: Any = None) -> CorpusCheck:
    """Read a corpus once and judge each record.

    Args:
        records: from :func:`read_records`.
        annotator: knows the columns and the constraints. With records that are kept although they could not be
            read, its ``columns.error`` must be ``"error"``.
        limit: findings that are listed; all are counted.
        tokenizer: given, answers are tokenised anew and those counted whose tokens differ.

    Raises:
        CorpusError: a record that cannot be read or judged, where ``records`` raises for those.
        InputError: columns that are missing.
    """
    report = CorpusCheck()
    for batch in records:
        annotated = annotator(batch.table)
        table, problems = settle(annotated, batch, records.on_error, "error")
        report.records += batch.read
        report.skipped += batch.read - table.num_rows
        report.tokens += tokens_of(table)
        report.verdicts += verdicts_of(table)
        if (left := limit - len(report.findings)) > 0:
            found = [*map(_error, problems[:left]), *_findings(annotated, batch.places, annotator, left)]
            report.findings += [finding for _, finding in sorted(found, key=itemgetter(0))[:left]]
        if tokenizer is not None:
            report.respelled += _respelled(table, annotator, tokenizer)
    return report


def _error(problem: Problem) -> tuple[int, Finding]:
    return problem.place.record, Finding(str(problem.place), VERDICTS[ERROR], None, None, "", problem.message)


def _findings(table: pa.Table, places: Places, annotator: Annotator, limit: int) -> list[tuple[int, Finding]]:
    """Records of a batch that are broken or cut off, each with its number in the file."""
    wanted = pa.array([VERDICTS[BROKEN], VERDICTS[CUT_OFF]])
    rows = pc.indices_nonzero(pc.is_in(table["verdict"], wanted)).to_pylist()[:limit]
    return [
        (places[row].record, _finding(table.slice(row, 1).to_pylist()[0], str(places[row]), annotator)) for row in rows
    ]


def _finding(record: dict[str, Any], place: str, annotator: Annotator) -> Finding:
    con = _constraint(record, annotator)
    ids, states, start, verdict = record["input_ids"], record["states"], record["start"], record["verdict"]
    at = len(ids) if verdict == VERDICTS[CUT_OFF] else record["error_token"]
    right = spelling(ids[start:at], con.vocabulary)
    state = states[at - 1] if at > start else con.initial_state
    if at == len(ids):
        message = f"cut off: expected {_expected(con, state)}"
    else:
        wrong = mismatch(con, state, ids[at]) if con.knows_bytes else None
        right += wrong.fitting if wrong else b""
        message = f"expected {wrong.expected}, got {wrong.got}" if wrong else f"token {ids[at]} may not come here"
    text = right.decode(errors="replace")
    return Finding(place, verdict, at, len(text), text[-_CONTEXT:], message)


def _expected(con: Constraint, state: int) -> str:
    return expected(con, state) if con.knows_bytes else "more"


def _constraint(record: dict[str, Any], annotator: Annotator) -> Constraint:
    if isinstance(annotator.constraints, Constraints):
        return annotator.constraints.of(record[annotator.columns.schema])  # type: ignore[index]
    return annotator.constraints


def _respelled(table: pa.Table, annotator: Annotator, tokenizer: Any) -> int:
    """Answers of a batch whose tokens are not the tokenizer's own; those with errors are none."""
    eos, count = set(annotator.vocabulary.eos_token_ids), 0
    columns = (table[name].to_pylist() for name in ("input_ids", "start", "verdict"))
    for ids, start, verdict in zip(*columns, strict=True):
        answer = [token_id for token_id in ids[start:] if token_id not in eos]
        if verdict != VERDICTS[ERROR] and answer:
            count += not _is_canonical(answer, annotator, tokenizer)
    return count


def _is_canonical(answer: list[int], annotator: Annotator, tokenizer: Any) -> bool:
    try:
        text = spelling(answer, annotator.vocabulary).decode()
        return canonical_tokens(text, tokenizer, annotator.vocabulary) == answer
    except (UnicodeDecodeError, InputError):
        return False
