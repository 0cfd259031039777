"""Files that are replaced as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file; what was there before stays until all of it is on the disk. A device or a pipe is written as it is.

    Raises:
        OSError: it cannot be written.
    """
    given = Path(path)
    if given.exists() and not given.is_file():
        given.write_bytes(content)
        return
    target = given.resolve()  # a link stays one
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(target)
    except OSError as error:  # whose name would be the partial file's
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        partial.unlink(missing_ok=True)
