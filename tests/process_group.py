"""Two processes of torch that meet, do the same work on their own parts, and part."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SECONDS = 600  # until two that wait for each other for ever are ended: no measure of speed


def in_two_processes(folder: Path, job: Callable[..., None], *arguments: Any, start_method: str = "spawn") -> bool:
    """``job(folder, *arguments)`` in each of the two; did both come to its end?"""
    (folder / "meet").unlink(missing_ok=True)
    context = multiprocessing.get_context(start_method)
    both = [context.Process(target=_one_of_two, args=(rank, folder, job, arguments)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(SECONDS)
        process.kill()
        process.join()
    return [process.exitcode for process in both] == [0, 0]


def _one_of_two(rank: int, folder: Path, job: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    # A file to meet at, since a port that is free now may not be so in a moment.
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        job(folder, *arguments)
        torch.distributed.barrier()  # nobody leaves while the other still needs it
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    # Without taking the group apart: torch 2.13 waits for gloo's thread with Python's lock in its hands, and the thread
    # for the lock, to let go of the last tensor that it gathered. Whoever is that quick to leave waits for ever.
    os._exit(0)
