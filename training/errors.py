"""What the training programs raise on purpose, beside fastmask's own errors."""

from fastmask.errors import FastmaskError


class TreebankError(FastmaskError, ValueError):
    """A CoNLL-U file that cannot be read, or a treebank that cannot be split; names file and line."""


class TrainingError(FastmaskError, ValueError):
    """Settings, models or data that do not fit together, found before hours are spent."""


class DivergenceError(FastmaskError, ArithmeticError):
    """The loss became NaN or infinite."""
