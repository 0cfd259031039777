"""Files: what was saved comes back, and nothing else is believed."""

from __future__ import annotations

import hashlib
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmask as fm
from tests.cases import REGEXES, SCHEMAS
from tests.compare import outlines_vocabulary

HEADER = struct.Struct("<8sIIQ32s")


@pytest.fixture(scope="module")
def con(small):
    return fm.Constraint.from_schema(SCHEMAS["article"], small.vocabulary)


@pytest.fixture(scope="module")
def saved(con, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "article.fastmask"
    con.save(path)
    return path.read_bytes()


def load(data, vocabulary, path):
    path.write_bytes(data)
    return fm.Constraint.load(path, vocabulary)


def assert_same(con, other):
    every = np.arange(con.num_states)
    assert (con.num_states, con.fingerprint) == (other.num_states, other.fingerprint)
    np.testing.assert_array_equal(con.bitmask(every), other.bitmask(every))
    np.testing.assert_array_equal(con.is_final(every), other.is_final(every))
    for token in range(0, con.vocab_size, 7):
        tokens = np.full(con.num_states, token)
        np.testing.assert_array_equal(con.advance(every, tokens), other.advance(every, tokens))


@pytest.mark.parametrize("case", REGEXES, ids=lambda case: case.name)
def test_what_was_saved_comes_back(case, small, tmp_path):
    con = fm.Constraint.from_regex(case.regex, small.vocabulary)
    con.save(tmp_path / "file")
    assert_same(con, fm.Constraint.load(str(tmp_path / "file"), small.vocabulary))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_index_s_constraint_comes_back(small, tmp_path):
    outlines = pytest.importorskip("outlines_core")
    index = outlines.Index("(yes|no)+!", outlines_vocabulary(small.tokens, small.eos))
    con = fm.Constraint.from_index(index, small.vocabulary)
    con.save(tmp_path / "file")
    assert_same(con, fm.Constraint.load(tmp_path / "file", small.vocabulary))


def test_equal_constraints_give_equal_files(con, saved, small, tmp_path):
    con.bitmask(np.arange(con.num_states))
    for builder in ("fastmask", "outlines"):
        fm.Constraint.from_schema(SCHEMAS["article"], small.vocabulary, builder=builder).save(tmp_path / builder)
        assert (tmp_path / builder).read_bytes() == saved
    assert con.fingerprint != fm.Constraint.from_schema(SCHEMAS["upos"], small.vocabulary).fingerprint


def test_another_vocabulary_is_refused(saved, small, tmp_path):
    other = fm.Vocabulary([*small.tokens[:-1], b"other"], small.eos)
    with pytest.raises(fm.VocabularyError, match="made for a vocabulary with fingerprint"):
        load(saved, other, tmp_path / "file")


def test_errors_name_the_file_that_was_given(con, saved, small, tmp_path):
    (tmp_path / "con.py").write_text("import fastmask as fm" * 9)
    with pytest.raises(fm.FileFormatError, match=r"con\.py: this is no fastmask constraint"):
        fm.Constraint.load(tmp_path / "con.py", small.vocabulary)
    with pytest.raises(fm.VocabularyError, match=r"other\.fastmask: .*made for a vocabulary"):
        load(saved, fm.Vocabulary(small.tokens, small.eos, size=small.vocabulary.size + 1), tmp_path / "other.fastmask")
    for place, error in ((tmp_path, OSError), (tmp_path / "none" / "file", FileNotFoundError)):
        with pytest.raises(error) as caught:
            con.save(place)
        assert str(caught.value.filename) == str(place)
    assert not list(tmp_path.glob("**/*.partial"))


def test_a_missing_file_is_what_python_says(small, tmp_path):
    with pytest.raises(FileNotFoundError):
        fm.Constraint.load(tmp_path / "none", small.vocabulary)


def resealed(saved: bytes, change) -> bytes:
    """The file with its payload changed and a checksum that fits again: what a forger would hand in."""
    magic, version, kind, _, _ = HEADER.unpack_from(saved)
    payload = change(bytearray(saved[HEADER.size :]))
    return HEADER.pack(magic, version, kind, len(payload), hashlib.sha256(payload).digest()) + payload


DAMAGED = {
    "empty": lambda saved: b"",
    "cut in the header": lambda saved: saved[:20],
    "cut in the payload": lambda saved: saved[:-1],
    "too long": lambda saved: saved + b"\0",
    "another file": lambda saved: b"PK\3\4" + saved[4:],
    "another version": lambda saved: saved[:8] + b"\2\0\0\0" + saved[12:],
    "another kind": lambda saved: saved[:12] + b"\7\0\0\0" + saved[16:],
    "token table in name": lambda saved: saved[:12] + b"\1\0\0\0" + saved[16:],
    "huge size": lambda saved: saved[:16] + b"\xff" * 8 + saved[24:],
    "huge array": lambda saved: resealed(saved, lambda p: p[:32] + b"\xff" * 8 + p[40:]),
    "states out of range": lambda saved: resealed(saved, lambda p: p[:-4] + b"\xff\xff\xff\x7f"),
    "no payload": lambda saved: resealed(saved, lambda p: b""),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_found(name, saved, small, tmp_path):
    with pytest.raises(fm.FileFormatError):
        load(DAMAGED[name](saved), small.vocabulary, tmp_path / "file")


def survives(data, small, path):
    """Loading gives a FastmaskError, or (a forger's luck) a constraint that works."""
    try:
        con = load(data, small.vocabulary, path)
    except fm.FastmaskError:
        return True
    con.bitmask(np.arange(con.num_states))
    con.walk([list(range(0, 600, 5))])
    return False


@pytest.mark.parametrize("tries", [2_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_damage_at_random(saved, small, tmp_path, tries):
    draw = np.random.default_rng(tries)
    refused = 0
    for _ in range(tries // 4):
        flipped = bytearray(saved)
        flipped[draw.integers(len(saved))] ^= 1 << draw.integers(8)
        cut = saved[: draw.integers(len(saved))]
        noise = draw.bytes(draw.integers(1, 500))

        def forge(payload):
            for _ in range(draw.integers(1, 4)):
                payload[draw.integers(32, len(payload))] = draw.integers(256)
            return bytes(payload)

        refused += sum(survives(bytes(data), small, tmp_path / "file") for data in (flipped, cut, noise))
        survives(resealed(saved, forge), small, tmp_path / "file")
    assert refused == tries // 4 * 3


@given(data=st.data())
def test_a_damaged_pickle_says_so_or_is_no_pickle(con, data):
    """The state inside a pickle is our own format too: changed by one byte, it is refused."""
    rebuild, (state, *rest) = con.__reduce__()
    damaged = bytearray(state)
    damaged[data.draw(st.integers(0, len(state) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(fm.FastmaskError):
        rebuild(bytes(damaged), *rest)
    assert pickle.loads(pickle.dumps(con)).fingerprint == con.fingerprint
