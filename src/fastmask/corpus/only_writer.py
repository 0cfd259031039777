"""One run at a time writes into a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from fastmask.errors import CorpusError

__all__ = ["only_writer"]


@contextmanager
def only_writer(folder: str) -> Iterator[None]:
    """Holds a local folder for this run; a kill frees it. Systems and disks without such locks go without.

    Raises:
        CorpusError: another run holds it: their shards would stand next to each other.
    """
    if os.name != "posix":  # Windows opens no folders
        yield
        return
    import fcntl

    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise CorpusError(f"another run is writing to {folder}: wait for it, or give another folder") from error
        yield
    finally:
        os.close(held)
