"""Annotating a corpus: Arrow in, Arrow out; beside the engines' batched forms and the article's way, and as text."""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa

import fastmask as fm
from benchmarks.formats import ARTICLE
from benchmarks.groups.walk import each
from benchmarks.harness import Contender, Report
from benchmarks.packed import empty_rows
from benchmarks.peers import OutlinesCore, installed
from benchmarks.peers.batch import BATCHES, fastmask_rows, require_followed
from benchmarks.peers.entrants import engine, memory_for
from benchmarks.workloads import Workload, workloads
from fastmask.corpus import Annotator, Columns
from fastmask.corpus.tokenising import token_ids

COPIES = 8  # of the treebank in one table: some two million tokens
ROWS, STEPS = 64, 40  # of the rectangle that batched engines read
THREADS = 2  # of everyone, where it is not said otherwise
OURS = "fastmask, annotate"


def run(report: Report) -> None:
    for workload in workloads(report.settings.quick, [ARTICLE]):
        con = workload.constraint()
        over_arrow(report, workload, con)
        beside_batches(report, workload, con)
        from_text(report, workload, con)


# ---- tokens given ---------------------------------------------------------------------------------------


def over_arrow(report: Report, workload: Workload, con: fm.Constraint) -> None:
    """The whole treebank, on one thread and on two, beside the article's way on a sample: a matcher stepped per row."""
    copies = 1 if report.settings.quick else COPIES
    table = pa.table({"input_ids": pa.array(workload.answers * copies, pa.list_(pa.int32()))})
    tokens = sum(map(len, workload.answers)) * copies
    annotator = Annotator(con, Columns(tokens="input_ids"))
    require_complete(annotator(table))
    contenders = {
        f"{OURS}, {threads} thread(s)": Contender(
            partial(annotator, table), tokens, partial(fm.set_num_threads, threads)
        )
        for threads in (1, 2)
    }
    one, two = contenders
    contenders["outlines-core's Guide and masks, row by row"] = stepped(report, workload)
    race = report.race("corpus", workload.name, "s/token", contenders, one)
    report.find("corpus.rate", workload.name, 1 / race.spread(one).median)
    report.find("corpus.threads", workload.name, race.ratio_of_best(one, two))
    report.find_ratio("corpus.article", workload.name, race, list(contenders)[-1], one)


def require_complete(table: pa.Table) -> None:
    verdicts = set(table.column("verdict").to_pylist())
    if verdicts != {"complete"}:
        raise AssertionError(f"the treebank's answers are {verdicts}, not all complete")


def stepped(report: Report, workload: Workload) -> Contender:
    """The article's function: for each record a fresh matcher, for each token a mask and a step."""
    answers = workload.sample(report.settings.answers)
    matcher = engine(OutlinesCore, workload.tokenizer).schema(workload.format.schema)
    rows, masks = matcher.rows(memory_for(answers, workload)), sum(len(answer) + 1 for answer in answers)
    return Contender(each(answers, matcher.masks, rows), masks)


# ---- beside batched engines -----------------------------------------------------------------------------


def beside_batches(report: Report, workload: Workload, con: fm.Constraint) -> None:
    """A rectangle of tokens, every engine on as many threads."""
    rows = [answer[:STEPS] for answer in workload.answers if len(answer) >= STEPS][:ROWS]
    tokens = np.array(rows)
    masks = empty_rows(len(rows), con.vocab_size)
    before = partial(fm.set_num_threads, THREADS)
    contenders = {
        "fastmask, states": Contender(partial(con.walk, tokens), tokens.size, before),
        "fastmask, states and packed masks": Contender(partial(fastmask_rows, con, tokens, masks), tokens.size, before),
    }
    peers = []
    for peer in installed(report.note, tuple(BATCHES)):
        matcher = peer(engine(BATCHES[peer], workload.tokenizer), workload.format.schema, len(rows), THREADS)
        require_followed(matcher, tokens, masks)
        contenders[peer.name] = Contender(partial(matcher.follow, tokens, masks), tokens.size)
        peers.append(peer.name)
    name = f"{workload.name}, {len(rows)} × {STEPS}"
    race = report.race("corpus", name, "s/token", contenders, "fastmask, states")
    if peers:
        fastest = race.fastest(peers)
        report.find_ratio("corpus.states", f"{name} · {fastest}", race, fastest, "fastmask, states")
        report.find_ratio("corpus.masks", f"{name} · {fastest}", race, fastest, "fastmask, states and packed masks")


# ---- from text ------------------------------------------------------------------------------------------


def from_text(report: Report, workload: Workload, con: fm.Constraint) -> None:
    """Answers as text: how much of the time is the tokenizer's, in the fastest way of asking it for ids."""
    answers = workload.format.answers(report.settings.quick)
    table = pa.table({"answer": answers})
    annotator = Annotator(con, Columns(answer="answer"), workload.tokenizer)
    require_complete(annotator(table))
    total = sum(map(len, workload.answers))
    called, asked, ours = "the tokenizer, called", "the tokenizer, asked for ids alone", "fastmask, annotate text"
    contenders = {
        called: Contender(partial(workload.tokenizer, answers, add_special_tokens=False), total),
        asked: Contender(partial(token_ids, answers, workload.tokenizer, add_special_tokens=False), total),
        ours: Contender(partial(annotator, table), total, partial(fm.set_num_threads, THREADS)),
    }
    race = report.race("corpus", f"{workload.name}, from text", "s/token", contenders, ours)
    report.find_ratio("corpus.text", workload.name, race, asked, ours)
