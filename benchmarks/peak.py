"""The most memory that a piece of work holds beyond what was there before it."""

from __future__ import annotations

import ctypes
import gc
import mmap
from collections.abc import Callable
from pathlib import Path

from fastmask import _core

SMALLEST_KEPT = 8 << 20  # bytes; see csrc/recycled_memory.cc
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def tells_peak() -> bool:
    """Does this system tell a process's peak, and let it begin anew?"""
    return STATUS.exists() and RESET.exists()


def peak_bytes(work: Callable[[], object]) -> int:
    """At least a page, in which the system counts. Memory that the allocator only kept is given back before."""
    gc.collect()
    drop_kept_gradient()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    before = _bytes("VmRSS")
    RESET.write_text("5", encoding="utf-8")  # the peak begins anew (proc(5))
    work()
    return max(mmap.PAGESIZE, _bytes("VmHWM") - before)


def drop_kept_gradient() -> None:
    """The kernel keeps the memory of the last gradient; one of another size takes its place."""
    _core.recycled(SMALLEST_KEPT)


def _bytes(field: str) -> int:
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024
