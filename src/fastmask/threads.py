"""How many threads the kernel's loops use. The results are the same for any number."""

import operator

from fastmask import _core
from fastmask.errors import InputError

__all__ = ["get_num_threads", "set_num_threads"]


def get_num_threads() -> int:
    """Threads that a loop may use, the caller's included. Default: the processors this process may run on."""
    return _core.num_threads()


def set_num_threads(count: int) -> None:
    """Set the number of threads, for the whole process, from the next call on.

    Raises:
        InputError: ``count`` is not between 1 and 1024.
    """
    count = operator.index(count)
    if not 1 <= count <= 1024:
        raise InputError(f"the number of threads must be between 1 and 1024, got {count}")
    _core.set_num_threads(count)
