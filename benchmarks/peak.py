"""The most memory that a piece of work holds beyond what was there before it."""

from __future__ import annotations

import ctypes
import gc
import mmap
from collections.abc import Callable
from pathlib import Path

from fastmask import _core

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def tells_peak() -> bool:
    """Does this system tell a process's peak, and let it begin anew?"""
    return STATUS.exists() and RESET.exists()


def peak_bytes(work: Callable[[], object]) -> int:
    """At least a page, in which the system counts. Memory that the allocator only kept is given back before."""
    gc.collect()
    _core.drop_waiting_memory()  # that of the last gradient, kept for the next
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    before = _bytes("VmRSS")
    RESET.write_text("5", encoding="utf-8")  # the peak begins anew (proc(5))
    work()
    return max(mmap.PAGESIZE, _bytes("VmHWM") - before)


def _bytes(field: str) -> int:
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024
