"""The kernel's own exponential and logarithm: how far from float64's, and the same on every set of instructions."""

from __future__ import annotations

import multiprocessing
import sys

import numpy as np
import pytest

from fastmask import _core

TIMEOUT = 120  # seconds until a child process counts as hung
LIMIT = 1.2 if sys.platform == "win32" else 1  # of e^x: Microsoft's compiler rounds a product before it adds to it
SMALLEST = np.finfo(np.float32).tiny


def units_off(found, exact):
    """The largest distance in units of the last place."""
    return (np.abs(found - exact) / np.spacing(np.abs(exact).astype(np.float32))).max()


def exponents():
    draw = np.random.default_rng(0)
    return -np.concatenate([draw.uniform(0, 87.33, 10**6), 10 ** draw.uniform(-40, 1, 10**5), [0]]).astype(np.float32)


def positives():
    """Of every size, and close to 1, where the logarithm vanishes."""
    draw = np.random.default_rng(0)
    near = 1 + draw.choice([-1, 1], 10**6) * 10 ** draw.uniform(-7, -0.5, 10**6)
    numbers = np.concatenate([10 ** draw.uniform(-37.9, 38.5, 10**6), near]).astype(np.float32)
    return numbers[numbers != 1]


def test_the_exponential_is_right_to_the_last_place():
    assert units_off(_core.exponentials(exponents()), np.exp(exponents().astype(float))) < LIMIT
    assert _core.exponentials(np.float32([0, -87.4, -1e4, -np.inf])).tolist() == [1, 0, 0, 0]
    assert np.isnan(_core.exponentials(np.float32([np.nan]))).all()


def test_the_logarithm_is_right_to_the_last_place():
    assert units_off(_core.logarithms(positives()), np.log(positives().astype(float))) < 1
    lowest = np.log(SMALLEST)
    assert _core.logarithms(np.float32([1, SMALLEST, SMALLEST / 2, 0])).tolist() == [0, lowest, lowest, lowest]


def results_in_bytes() -> bytes:
    return _core.exponentials(exponents()).tobytes() + _core.logarithms(positives()).tobytes()


@pytest.mark.parametrize("path", ["plain", "avx2", "avx512"])
def test_every_set_of_instructions(path, monkeypatch):
    """A path that this machine lacks falls back to the next, which is then tested twice."""
    monkeypatch.setenv("FASTMASK_SIMD", path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(results_in_bytes).get(TIMEOUT) == results_in_bytes()
