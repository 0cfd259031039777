"""fastmask: which tokens keep the text within a schema, for a whole batch or corpus at once.

Heavy dependencies are chosen by import path: ``fastmask.torch`` needs torch, ``fastmask.hf`` transformers;
this module needs numpy alone, and outlines-core once a constraint is compiled.
"""

from fastmask._core import DEAD, DONE, FREE
from fastmask.constraint import Constraint
from fastmask.errors import (
    CompileLimitError,
    CorpusError,
    CutOffWarning,
    FastmaskError,
    FileFormatError,
    GenerationError,
    InputError,
    InputTypeError,
    MissingExtraError,
    MissingProgramError,
    RegexError,
    SchemaError,
    TokenRangeError,
    UnsupportedSchemaError,
    UnsupportedSchemaWarning,
    VocabularyError,
    VocabularyWarning,
)
from fastmask.rows import After, after
from fastmask.threads import get_num_threads, set_num_threads
from fastmask.vocabulary import Vocabulary
from fastmask.walks import Check

__version__ = "0.1.0"

__all__ = [
    "DEAD",
    "DONE",
    "FREE",
    "After",
    "Check",
    "CompileLimitError",
    "Constraint",
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
    "Vocabulary",
    "VocabularyError",
    "VocabularyWarning",
    "after",
    "get_num_threads",
    "set_num_threads",
]
