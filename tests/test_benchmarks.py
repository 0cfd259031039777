"""The benchmarks check every answer before they time it; here they run for that alone. Nothing is asserted on time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("typer")

ROOT = Path(__file__).resolve().parent.parent


def test_quick_run_checks_every_group_and_writes_what_it_saw(tmp_path):
    out = tmp_path / "results.json"
    # An empty folder for the reference material: quick runs use what the repository holds.
    environment = {**os.environ, "FASTMASK_SHARED": str(tmp_path)}
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(out)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    print(result.stdout)  # tells how long each group took, and which peers were skipped
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(out)

    seen = json.loads(out.read_text(encoding="utf-8"))
    groups = {line["group"] for line in seen["measurements"]}
    of_masks = {"walk", "latency", "growth", "trees", "rows", "compile", "corpus", "generation", "memory"}
    assert groups >= of_masks | {"losses", "linear_losses", "training_step"}
    assert all(line["value"]["minimum"] > 0 for line in seen["measurements"])
    assert {"walk.threads", "rows.packed", "rows.bool", "memory.constraint"} <= {f["target"] for f in seen["findings"]}
    assert "gpu_losses" in groups or any("gpu_losses skipped" in note for note in seen["notes"])
    assert any("JSONSchemaBench" in note for note in seen["notes"]), "what was left out must be said"


@pytest.mark.parametrize("out", ["file/results.json", "."])
def test_results_that_could_not_be_written_are_refused_before_anything_is_measured(tmp_path, out):
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "benchmarks", "walk", "--out", str(tmp_path / out)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "walk:" not in result.stdout
    assert "cannot" in result.stderr  # in a box, whose edge may stand between any two words


def test_unknown_group_is_refused():
    command = [sys.executable, "-m", "benchmarks", "wlak"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert "wlak" in result.stderr
