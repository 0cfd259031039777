"""How time per token grows: with the length of a text, the rows of a batch, the vocabulary, the threads.

Always the article's format, and for every engine the same job: the mask before each token, one after another into the
same memory, and the token accepted. What grows is the whole of one workload's name, so that it can be plotted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

import fastmask as fm
from benchmarks.formats import ARTICLE
from benchmarks.harness import Contender, Report
from benchmarks.packed import Rows, are_allowed, empty_rows
from benchmarks.peers import LLGuidance, XGrammar, installed
from benchmarks.peers.batch import BATCHES, fastmask_rows, require_followed
from benchmarks.peers.entrants import engine, memory_for
from benchmarks.peers.single import SteppedMatcher
from benchmarks.texts import sentences
from benchmarks.workloads import Workload, encode, tokenizers, workload
from training.schema import answer

LENGTHS = (64, 256, 1024, 4096, 16_384)  # tokens of one text
ROWS = (1, 4, 16, 64, 256)  # of a batch
STEPS = 40  # tokens of each row of a batch
BATCH = 64  # rows, where something else grows
CUT = (4_096, 16_384, 65_536)  # tokens kept of the largest vocabulary
PIECE = 64  # masks of a text in one call
STATES, MASKS = "fastmask, states", "fastmask, states and masks"
IN_PIECES = f"fastmask, states and masks, {PIECE} at a time"


def run(report: Report) -> None:
    quick = report.settings.quick
    first = workload(ARTICLE, next(iter(tokenizers(quick))), quick)
    for length in LENGTHS[:1] if quick else LENGTHS:
        along_a_text(report, first, length)
    for rows in ROWS[:2] if quick else ROWS:
        across_a_batch(report, f"batch {rows}", first, rows, threads=1)
    for each in vocabularies(quick):
        across_a_batch(report, f"vocabulary {each.vocabulary.size:,}", each, BATCH, threads=1)
    for threads in (1, 2):
        across_a_batch(report, f"threads {threads}", first, BATCH, threads)


def require_alive(con: fm.Constraint, tokens: npt.NDArray[np.int64]) -> None:
    if (con.walk(tokens) == fm.DEAD).any():
        raise AssertionError(f"{con!r} forbids a token of an answer")


# ---- one text -----------------------------------------------------------------------------------------------


def along_a_text(report: Report, workload: Workload, length: int) -> None:
    tokens = long_text(workload, length)
    con = workload.constraint()
    require_alive(con, np.array([tokens]))
    rows = np.repeat(memory_for([[]], workload), PIECE, axis=0)
    one_thread = partial(fm.set_num_threads, 1)
    contenders = {
        STATES: Contender(partial(con.walk, [tokens]), length, one_thread),
        MASKS: Contender(partial(fastmask_rows, con, np.array([tokens]), rows[:1]), length, one_thread),
        IN_PIECES: Contender(partial(masks_in_pieces, con, np.array([tokens]), rows), length, one_thread),
    }
    for peer in (each for each in installed(report.note) if each in (XGrammar, LLGuidance)):
        matcher = engine(peer, workload.tokenizer).schema(workload.format.schema)
        # One row, again and again: whoever keeps masks pays for keeping, not for making them.
        (memory,) = matcher.rows(rows[:1])
        require_allowed(peer.name, matcher, tokens, rows[:1])
        contenders[peer.name] = Contender(partial(matcher.masks, tokens, [memory] * (length + 1)), length + 1)
    report.race("growth", f"length {length}", "s/token", contenders, MASKS)


def require_allowed(name: str, matcher: SteppedMatcher, tokens: list[int], memory: Rows) -> None:
    """Each token by the mask before it; a peer that refuses one would be quick from there on."""
    (row,) = matcher.rows(memory)
    matcher.reset()
    for position, token in enumerate(tokens):
        matcher.fill(row)
        if not are_allowed(np.array([token]), memory).all():
            raise AssertionError(f"{name} forbids token {position} of a text")
        matcher.accept(token)


def masks_in_pieces(con: fm.Constraint, tokens: npt.NDArray[np.int64], rows: Rows) -> None:
    """All states at once, then so many masks at a time as ``rows`` holds."""
    states = con.walk(tokens)[0]
    for begin in range(0, len(states), len(rows)):
        piece = states[begin : begin + len(rows)]
        con.bitmask(piece, out=rows[: len(piece)])


def long_text(workload: Workload, length: int) -> list[int]:
    """The beginning of one answer about all words, from the first again where they are too few."""
    words = [word for words in sentences(False) for word in words]
    enough = (words * (length // len(words) + 1))[:length]  # a word is more than one token of JSON
    return encode(workload.tokenizer, [answer(enough)])[0][:length]


# ---- a batch ------------------------------------------------------------------------------------------------


def across_a_batch(report: Report, name: str, workload: Workload, rows: int, threads: int) -> None:
    long = [row[:STEPS] for row in workload.answers if len(row) >= STEPS]
    tokens = np.array((long * (rows // len(long) + 1))[:rows])
    con = workload.constraint()
    require_alive(con, tokens)
    masks = empty_rows(rows, con.vocab_size)
    before = partial(fm.set_num_threads, threads)
    contenders = {
        STATES: Contender(partial(con.walk, tokens), tokens.size, before),
        MASKS: Contender(partial(fastmask_rows, con, tokens, masks), tokens.size, before),
    }
    for peer in installed(report.note, tuple(BATCHES)):
        made = engine(BATCHES[peer], workload.tokenizer)
        matcher = peer(made, workload.format.schema, rows, threads)
        require_followed(matcher, tokens, masks)
        contenders[peer.name] = Contender(partial(matcher.follow, tokens, masks), tokens.size)
    report.race("growth", name, "s/token", contenders, MASKS)


# ---- vocabularies -------------------------------------------------------------------------------------------


def vocabularies(quick: bool) -> Iterator[Workload]:
    """The real ones, and the largest cut to its first tokens, from the smallest on."""
    found = [workload(ARTICLE, name, quick) for name in tokenizers(quick)]
    largest = max(found, key=lambda each: each.vocabulary.size)
    if not quick:
        found += [cut(largest, size) for size in CUT if size < largest.vocabulary.size]
    yield from sorted(found, key=lambda each: each.vocabulary.size)


def cut(workload: Workload, size: int) -> Workload:
    """A byte-pair encoding learns its tokens in the order of their ids: its beginning is a smaller one of its kind."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    description = json.loads(workload.tokenizer.backend_tokenizer.to_str())
    model, eos = description["model"], workload.tokenizer.eos_token
    model["vocab"] = {token: number for token, number in model["vocab"].items() if number < size}
    model["merges"] = [
        [left, right] for left, right in model["merges"] if {left, right, left + right} <= model["vocab"].keys()
    ]
    added = [token for token in description["added_tokens"] if token["content"] == eos]
    description["added_tokens"] = [{**token, "id": size} for token in added]
    description["post_processor"] = None  # it names special tokens that are gone
    smaller = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(description)), eos_token=eos)
    answers = encode(smaller, workload.format.answers(False)[: BATCH * 4])
    vocabulary = fm.Vocabulary.from_tokenizer(smaller)
    return Workload(workload.format, f"{workload.tokenizer_name}, cut", smaller, vocabulary, answers)
