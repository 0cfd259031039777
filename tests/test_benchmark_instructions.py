"""Counting instructions: what counters say is read, what a path costs is told from the rest, each path runs alone."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastmask as fm
from benchmarks.instructions import counters
from benchmarks.instructions.paths import PATHS, Inputs

ROOT = Path(__file__).resolve().parent.parent


def test_counters_read_their_own_files():
    perf = "# started on Sun Nov 22 07:15:00 2026\n\n614,856,537\n"
    assert counters.Perf().read("# started on …\n\n61385,,instructions:u,25817,100.00,,\n") == 61385
    assert counters.Callgrind().read("events: Ir\nfn=(1) main\n12 34\n\ntotals: 613856537\n") == 613856537
    for counter, text in ((counters.Perf(), perf), (counters.Perf(), "<not supported>,,instructions:u,0,100.00,,\n")):
        with pytest.raises(ValueError, match="no count"):
            counter.read(text)


class Told:
    """A counter that is told what to say: 1,000 instructions of start and import, 70 for each repetition."""

    name = "told"


def test_instructions_are_those_of_the_path_alone(monkeypatch):
    pytest.importorskip("transformers")
    from benchmarks.instructions import __main__ as program

    def count(counter, command, environment):
        assert environment["FASTMASK_SIMD"] == "avx2"
        return counters.Count(1000 + 70 * int(command[-2]), "7\n")

    monkeypatch.setattr(program, "count", count)
    assert program.instructions(Told(), "walk", 5, Path("inputs")) == 10.0


def test_each_path_runs_in_a_process_of_its_own(tmp_path):
    vocabulary = fm.Vocabulary([bytes([byte]) for byte in range(256)] + [None], eos_token_id=256)
    schema = '{"type": "integer"}'
    inputs = Inputs("integers", schema, vocabulary, np.array([[ord("7"), 256]]), np.array([2]))
    (tmp_path / "inputs").write_bytes(pickle.dumps(inputs))
    units = {}
    for path in PATHS:
        if path.startswith("constrained_kl"):
            pytest.importorskip("torch")
        command = [sys.executable, "-m", "benchmarks.instructions.one_path", path, "1", str(tmp_path / "inputs")]
        done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        units[path] = int(done.stdout)
    assert units == {
        "walk": 2, "packed rows": 512, "schema to constraint": 1, "vocabulary and trie": 257,
        "constrained_kl, forward and backward": 16 * 257,
    }  # fmt: skip
