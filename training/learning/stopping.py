"""Ctrl-C and `kill`: a training takes its step to the end and writes a checkpoint before it stops."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Yields what tells the signal that has asked to stop, 0 if none has. A second one stops at once, as ever."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        asked.append(number)
        signal.signal(number, before[number])

    in_charge = threading.current_thread() is threading.main_thread()  # of signals; Python lets no other thread be
    numbers = (signal.SIGINT, signal.SIGTERM) if in_charge else ()
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, ask)
    try:
        yield lambda: asked[0] if asked else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
