"""The masks of a constraint in one file that needs no fastmask to be read.

The format is safetensors (https://github.com/huggingface/safetensors#format): 8 bytes, little-endian, give the length
of a JSON header; the header gives dtype, shape and byte offsets of each array, and texts under ``__metadata__``; the
arrays follow, little-endian and row-major:

- ``rows`` uint32 [num_masks, ceil(vocab_size / 32)]: bit ``i % 32`` of word ``i // 32`` is token ``i``, 1 = allowed,
  bits past the vocabulary 0; each distinct mask once, in the order of the first state that has it.
- ``row_of`` int32 [num_states]: the row of each state. A position's mask is ``rows[row_of[state]]``.
- ``is_final`` uint8 [num_states]: 1 where the text may end.

The one text, ``fastmask``, is a JSON object: ``format`` "masks 1", ``version`` (of fastmask), ``constraint`` and
``vocabulary`` (fingerprints, sha256 in hex), ``vocab_size``, ``eos_token_ids``. States 0, 1 and 2 are FREE, DONE and
DEAD, 3 is the initial one.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from fastmask.constraint import Constraint
from fastmask.errors import CorpusError

__all__ = ["mask_file_bytes", "write_masks"]


def mask_file_bytes(con: Constraint) -> bytes:
    """The file of a constraint; equal constraints of one version give equal bytes."""
    from safetensors.numpy import save

    import fastmask

    row_of = con.core.row_numbers()
    first_states = np.unique(row_of, return_index=True)[1].astype(np.int32)
    arrays = {
        "rows": con.bitmask(first_states).view(np.uint32),
        "row_of": row_of,
        "is_final": con.finals.astype(np.uint8),
    }
    about = {
        "format": "masks 1",
        "version": fastmask.__version__,
        "constraint": con.fingerprint,
        "vocabulary": con.vocabulary.fingerprint,
        "vocab_size": con.vocab_size,
        "eos_token_ids": list(con.vocabulary.eos_token_ids),
    }
    # One text, because safetensors writes several in an order that changes from run to run.
    return save(arrays, metadata={"fastmask": json.dumps(about)})


def write_masks(con: Constraint, file: str | os.PathLike[str], **options: Any) -> None:
    """Write the file to a path or an fsspec URL: whole or not at all; ``options`` are the file system's.

    Raises:
        CorpusError: it cannot be written.
    """
    from fsspec.core import url_to_fs

    content = mask_file_bytes(con)
    try:
        store, path = url_to_fs(os.fspath(file), **options)
        with store.transaction, store.open(path, "wb") as out:  # a local file takes its name once it is complete
            out.write(content)
    except Exception as error:  # each store has its own
        raise CorpusError(f"{os.fspath(file)} cannot be written: {error}") from error
