"""What the training programs raise on purpose, beside fastmask's own errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from fastmask.errors import FastmaskError


class TreebankError(FastmaskError, ValueError):
    """A CoNLL-U file that cannot be read, or a treebank that cannot be split; names file and line."""


class TrainingError(FastmaskError, ValueError):
    """Settings, models or data that do not fit together, found before hours are spent."""


class DivergenceError(FastmaskError, ArithmeticError):
    """A loss or its gradient became NaN or infinite."""


class StoppedError(FastmaskError, RuntimeError):
    """A training was asked to stop by a signal, and has written a checkpoint."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


@contextmanager
def loading(what: str, name: str) -> Iterator[None]:
    """Wrong names and paths, a missing network and damaged weights all come out of transformers as one of these."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingError(f"no {what} can be loaded from {name!r}: {error}") from error
