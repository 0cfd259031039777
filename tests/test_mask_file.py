"""The mask file, read by its documented layout and by nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest

import fastmask as fm
from tests.cases import REGEXES, SCHEMAS

pytest.importorskip("safetensors")
pytest.importorskip("fsspec")

from fastmask.corpus import write_masks

DTYPES = {"U32": "<u4", "I32": "<i4", "U8": "u1"}


def read(path):
    """Arrays and the text, by struct, json and numpy."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    about = json.loads(header.pop("__metadata__")["fastmask"])
    body, arrays = data[8 + size :], {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = np.frombuffer(body[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    assert sorted(entry["data_offsets"] for entry in header.values())[-1][1] == len(body)
    return arrays, about


def written(con, folder):
    write_masks(con, folder / "masks.safetensors")
    return read(folder / "masks.safetensors")


def assert_holds(con, arrays, about):
    rows, row_of, is_final = arrays["rows"], arrays["row_of"], arrays["is_final"]
    every = np.arange(con.num_states)
    bits = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little").astype(bool)
    np.testing.assert_array_equal(bits[row_of][:, : con.vocab_size], con.allowed(every))
    assert not bits[:, con.vocab_size :].any()
    np.testing.assert_array_equal(is_final, con.is_final(every))
    assert len(np.unique(rows, axis=0)) == len(rows)  # each once …
    firsts = [row_of.tolist().index(row) for row in range(len(rows))]
    assert firsts == sorted(firsts)  # … in the order of the states
    assert about == {
        "format": "masks 1",
        "version": fm.__version__,
        "constraint": con.fingerprint,
        "vocabulary": con.vocabulary.fingerprint,
        "vocab_size": con.vocab_size,
        "eos_token_ids": list(con.vocabulary.eos_token_ids),
    }


@pytest.mark.parametrize("case", REGEXES, ids=lambda case: case.name)
def test_all_masks_are_in_it(case, small, tmp_path):
    con = fm.Constraint.from_regex(case.regex, small.vocabulary)
    assert_holds(con, *written(con, tmp_path))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_real_vocabularies(sample, schema, tmp_path, compared):
    con = fm.Constraint.from_schema(SCHEMAS[schema], sample.vocabulary)
    arrays, about = written(con, tmp_path)
    assert_holds(con, arrays, about)
    compared["mask file"] += con.num_states * con.vocab_size


@pytest.mark.parametrize("size", [302, 319, 320, 321, 1000])
def test_bits_past_the_vocabulary(size, tmp_path):
    tokens = [*(bytes([byte]) for byte in range(256)), None]
    con = fm.Constraint.from_regex("[ab]*", fm.Vocabulary(tokens, [256, 301], size))
    arrays, about = written(con, tmp_path)
    assert arrays["rows"].shape[1] == -(-size // 32)
    assert_holds(con, arrays, about)


def test_which_masks_were_needed_before_does_not_show(small, tmp_path):
    """A constraint fills its masks in the order in which they are asked for; the file has an order of its own."""
    fresh, used = (fm.Constraint.from_schema(SCHEMAS["upos"], small.vocabulary) for _ in range(2))
    used.bitmask(np.arange(used.num_states)[::-3])
    for name, con in (("fresh", fresh), ("used", used)):
        write_masks(con, str(tmp_path / name))
    assert (tmp_path / "fresh").read_bytes() == (tmp_path / "used").read_bytes()


SCRIPT = """
import sys
import fastmask as fm
from fastmask.corpus import write_masks
tokens = [*(bytes([byte]) for byte in range(256)), b"ab", None]
write_masks(fm.Constraint.from_regex("(ab|cd)+[0-9]{3}", fm.Vocabulary(tokens, 257)), sys.argv[1])
"""


def test_the_same_bytes_in_every_process(tmp_path):
    digests = set()
    for seed in range(4):
        environment = os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        target = tmp_path / str(seed)
        subprocess.run([sys.executable, "-c", SCRIPT, target], env=environment, check=True, timeout=600)
        digests.add(hashlib.sha256(target.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_an_address_of_fsspec(small):
    import fsspec

    con = fm.Constraint.from_regex("[ab]+", small.vocabulary)
    write_masks(con, "memory://masks/file")
    with fsspec.open("memory://masks/file") as file:
        assert len(file.read()) > 3 * (small.vocabulary.size // 8)


def test_safetensors_reads_it(small, tmp_path):
    from safetensors.numpy import load_file

    con = fm.Constraint.from_regex("[ab]+", small.vocabulary)
    arrays, _ = written(con, tmp_path)
    loaded = load_file(tmp_path / "masks.safetensors")
    assert loaded.keys() == arrays.keys()
    assert all((loaded[name] == arrays[name]).all() for name in arrays)
