"""Every error that fastmask raises on purpose.

One small hierarchy under :class:`FastmaskError`; each class is also the built-in it resembles, so that
``except ValueError`` keeps working. Messages say what was given, what was expected and what to do.
"""

__all__ = [
    "CompileLimitError",
    "CorpusError",
    "CutOffWarning",
    "FastmaskError",
    "FileFormatError",
    "GenerationError",
    "InputError",
    "InputTypeError",
    "MissingExtraError",
    "MissingProgramError",
    "RegexError",
    "SchemaError",
    "TokenRangeError",
    "UnsupportedSchemaError",
    "UnsupportedSchemaWarning",
    "VocabularyError",
    "VocabularyWarning",
]


class FastmaskError(Exception):
    """Base class: catches everything that fastmask raises on purpose."""


class VocabularyError(FastmaskError, ValueError):
    """A tokenizer or a list of tokens from which no vocabulary can be made, or the wrong vocabulary."""


class VocabularyWarning(UserWarning):
    """A vocabulary that is probably another model's."""


class RegexError(FastmaskError, ValueError):
    """A regular expression that does not parse, or that matches no text at all."""


class CompileLimitError(FastmaskError, RuntimeError):
    """Compilation passed one of its budgets (seconds, states, bytes)."""


class SchemaError(FastmaskError, ValueError):
    """A JSON schema that is malformed or cannot be translated."""


class UnsupportedSchemaError(SchemaError):
    """A schema keyword that the translation would silently drop or weaken."""


class UnsupportedSchemaWarning(UserWarning):
    """With ``strict=False``: what :class:`UnsupportedSchemaError` would have said."""


class CutOffWarning(UserWarning):
    """Answers were generated that ``max_new_tokens`` cut short."""


class FileFormatError(FastmaskError, ValueError):
    """A file or pickle that is no constraint, is damaged, or has another version."""


class CorpusError(FastmaskError, ValueError):
    """A corpus that cannot be read, or a place that its results cannot be written to."""


class InputError(FastmaskError, ValueError):
    """A shape, a start or a length that does not fit."""


class InputTypeError(FastmaskError, TypeError):
    """An argument of the wrong type or dtype."""


class TokenRangeError(FastmaskError, IndexError):
    """A token id outside ``0 … vocab_size - 1``, or a state id outside ``0 … num_states - 1``."""


class MissingExtraError(FastmaskError, ModuleNotFoundError):
    """A package that is not installed, and comes with one of fastmask's extras."""


class MissingProgramError(FastmaskError, RuntimeError):
    """A program that is not part of Python and not installed."""


class GenerationError(FastmaskError, RuntimeError):
    """Text that could not be generated, or not be kept within its constraint."""
