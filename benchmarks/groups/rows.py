"""From states to masks, against the machine's own limit: memcpy and memset of the same bytes to the same buffer."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import fastmask as fm
from benchmarks.formats import ARTICLE, UPOS
from benchmarks.harness import Contender, Report
from benchmarks.packed import words_for
from benchmarks.workloads import Workload, padded, workloads

PACKED_BYTES = 64 << 20
BOOL_BYTES = 256 << 20


def run(report: Report) -> None:
    for workload in workloads(report.settings.quick, [ARTICLE, UPOS]):
        con = workload.constraint()
        require_unpacked(con)
        packed_rows(report, workload, con)
        bool_rows(report, workload, con)


def require_unpacked(con: fm.Constraint) -> None:
    """Both kinds of row say the same, tail bits included."""
    states = np.arange(con.num_states)
    bits = np.unpackbits(con.bitmask(states).view(np.uint8), axis=1, bitorder="little")
    if not np.array_equal(bits[:, : con.vocab_size], con.allowed(states)) or bits[:, con.vocab_size :].any():
        raise AssertionError(f"packed and boolean rows of {con!r} differ")


def packed_rows(report: Report, workload: Workload, con: fm.Constraint) -> None:
    words = words_for(con.vocab_size)
    states = corpus_states(workload, con, PACKED_BYTES // (4 * words), report)
    out, source = touched((len(states), words), np.int32), touched((len(states), words), np.int32)
    contenders = {
        "fastmask, out=": on(1, lambda: con.bitmask(states, out=out), out.nbytes),
        "memcpy": on(1, lambda: ctypes.memmove(out.ctypes.data, source.ctypes.data, out.nbytes), out.nbytes),
        "fastmask, out=, 2 threads": on(2, lambda: con.bitmask(states, out=out), out.nbytes),
        "fastmask, new array": on(1, lambda: con.bitmask(states), out.nbytes),
        "memcpy, new array": on(1, source.copy, out.nbytes),
    }
    race = report.race("rows", f"packed · {workload.name}", "s/byte", contenders, "fastmask, out=")
    report.find_ratio("rows.packed", workload.name, race, "memcpy", "fastmask, out=")


def bool_rows(report: Report, workload: Workload, con: fm.Constraint) -> None:
    states = corpus_states(workload, con, BOOL_BYTES // con.vocab_size, report)
    out = touched((len(states), con.vocab_size), np.bool_)
    contenders = {
        "fastmask, out=": on(1, lambda: con.allowed(states, out=out), out.nbytes),
        "memset": on(1, lambda: ctypes.memset(out.ctypes.data, 1, out.nbytes), out.nbytes),
        "fastmask, out=, 2 threads": on(2, lambda: con.allowed(states, out=out), out.nbytes),
        "fastmask, new array": on(1, lambda: con.allowed(states), out.nbytes),
        "memset, new array": on(1, lambda: np.ones(out.shape, np.bool_), out.nbytes),
    }
    race = report.race("rows", f"bool · {workload.name}", "s/byte", contenders, "fastmask, out=")
    report.find_ratio("rows.bool", workload.name, race, "memset", "fastmask, out=")


def on(threads: int, run: Callable[[], object], nbytes: int) -> Contender:
    return Contender(run, nbytes, lambda: fm.set_num_threads(threads))


def corpus_states(workload: Workload, con: fm.Constraint, count: int, report: Report) -> npt.NDArray[np.int32]:
    """``count`` states in the order in which the corpus meets them."""
    tokens, lengths = padded(workload.answers)
    walked = con.walk(tokens, lengths=lengths)
    met = walked[np.arange(walked.shape[1]) < lengths[:, None]]
    return np.resize(met, min(count, 200) if report.settings.quick else count)


def touched(shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """An array whose pages are there already."""
    return np.ones(shape, dtype)
