"""Fixtures: the vocabularies, and a count of the mask bits that were compared."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

import fastmask as fm
from tests import vocabularies

# Triton asks when it is first imported: without a GPU its kernels run under its interpreter.
if find_spec("torch"):
    import torch

    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"

# Nothing is timed, and every run draws the same examples; a long run draws its own.
settings.register_profile(
    "short", deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck)
)
settings.register_profile("long", deadline=None, max_examples=3_000, suppress_health_check=list(HealthCheck))

BITS = pytest.StashKey[Counter]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BITS] = Counter()
    settings.load_profile("short" if config.option.markexpr == "not long" else "long")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    bits = config.stash[BITS].total()
    if bits:
        terminalreporter.write_line(f"mask bits compared with a reference: {bits:,}")


@pytest.fixture(scope="session")
def compared(pytestconfig: pytest.Config) -> Counter:
    """Mask bits compared, by comparison; tests add to it and the last of `test_differential.py` asserts its sum."""
    return pytestconfig.stash[BITS]


@pytest.fixture(scope="session")
def tracked(pytestconfig: pytest.Config) -> set[str]:
    """The files that git knows, from the repository's root, with slashes."""
    listing = ["git", "-C", str(pytestconfig.rootpath), "ls-files", "-z"]
    try:
        return set(subprocess.run(listing, capture_output=True, check=True).stdout.decode().rstrip("\0").split("\0"))
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("needs a git checkout, and git")


@pytest.fixture(scope="session")
def synthetic() -> vocabularies.Sample:
    return vocabularies.synthetic()


@pytest.fixture(scope="session")
def small() -> vocabularies.Sample:
    """A vocabulary small enough for the oracle in plain Python."""
    return vocabularies.synthetic(num_tokens=600, seed=1)


@pytest.fixture(scope="session")
def bpe() -> vocabularies.Sample:
    return vocabularies.trained_bpe()


def by_name(request: pytest.FixtureRequest) -> vocabularies.Sample:
    if request.param in vocabularies.REAL_TOKENIZERS:
        return vocabularies.real(request.param)
    return request.getfixturevalue(request.param)


# Every vocabulary in turn, and each that has a tokenizer.
sample = pytest.fixture(
    by_name, scope="session", params=["synthetic", "bpe", *vocabularies.REAL_TOKENIZERS], name="sample"
)
tokenized = pytest.fixture(by_name, scope="session", params=["bpe", *vocabularies.REAL_TOKENIZERS], name="tokenized")


@pytest.fixture
def threads():
    """`fm.set_num_threads` for one test."""
    before = fm.get_num_threads()
    yield fm.set_num_threads
    fm.set_num_threads(before)
