"""Memory that comes again: nobody's while somebody still looks at it, and there after a fork."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import fastmask as fm
from fastmask import _core

LARGE = 9 << 20  # bytes; such blocks are kept


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def address(block):
    return block.__array_interface__["data"][0]


@pytest.mark.parametrize("size", [1, 4096, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE])
def test_all_of_it_can_be_written(size):
    block = _core.recycled(size)
    assert (block.dtype, block.shape) == (np.uint8, (size,))
    block[:] = 7
    assert block.sum(dtype=np.int64) == 7 * size


def test_a_block_in_use_is_nobody_else_s():
    first = _core.recycled(LARGE)
    first[:] = 1
    view = first[LARGE // 2 :]
    del first
    second = _core.recycled(LARGE)
    second[:] = 2
    assert (view == 1).all()
    assert (second == 2).all()


@pytest.mark.skipif(os.name != "posix", reason="blocks are kept where the system can be told that they are free")
def test_the_last_block_comes_again():
    block = _core.recycled(LARGE)
    block[:] = 3
    before = address(block)
    del block
    again = _core.recycled(LARGE - 5)
    assert address(again) == before
    del again
    larger = _core.recycled(5 * LARGE)  # another block; the one that waited is the system's now
    larger[:] = 4
    assert (larger == 4).all()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="what is resident is read from /proc")
def test_a_block_more_than_twice_as_large_is_given_up():
    block = _core.recycled(8 * LARGE)
    block[:] = 1
    del block
    before = resident()
    _core.recycled(3 * LARGE)
    assert resident() < before - 6 * LARGE


def test_refused():
    for size in (0, -1):
        with pytest.raises(fm.InputError, match="bytes"):
            _core.recycled(size)


def test_many_threads_take_and_give_back():
    wrong = []

    def work(mark):
        for _ in range(40):
            block = _core.recycled(LARGE)
            block[:: 1 << 12] = mark
            if (block[:: 1 << 12] != mark).any():
                wrong.append(mark)
            del block

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_writes_to_its_own():
    kept = _core.recycled(LARGE)
    kept[:] = 5
    waiting = _core.recycled(LARGE)
    waiting[:] = 6
    del waiting
    gc.collect()
    child = os.fork()
    if child == 0:
        block = _core.recycled(LARGE)
        block[:] = 8
        kept[:] = 9
        os._exit(0 if (block == 8).all() and (kept == 9).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (kept == 5).all()
