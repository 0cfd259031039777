"""Fixtures: a tiny model, a constraint for it, and prompts."""

from __future__ import annotations

import multiprocessing

import pytest

import fastmask as fm
from tests.hf import tiny


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Models as small as these only wait for a second thread, on a busy machine ten times as long as they compute."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer(bpe):
    return bpe.tokenizer


@pytest.fixture(scope="session")
def vocabulary(tokenizer):
    return fm.Vocabulary.from_tokenizer(tokenizer, size=tiny.WIDTH)


@pytest.fixture(scope="session")
def model(bpe):
    """Its temperature 1 draws from all that is allowed."""
    return tiny.gpt2(bpe.eos)


@pytest.fixture(scope="session")
def con(vocabulary):
    return fm.Constraint.from_schema(tiny.SHORT_SCHEMA, vocabulary)


@pytest.fixture(scope="session")
def inputs(tokenizer):
    """Prompts of unequal lengths, padded on the left."""
    encoded = tokenizer(tiny.PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    assert (encoded["attention_mask"] == 0).any()
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


@pytest.fixture(scope="session")
def prompt(tokenizer):
    """One prompt, for what takes no batch; it repeats itself, so that looking up in it finds something."""
    encoded = tokenizer(tiny.PROMPTS[0] + ' {"pos": "NOUN", "n": [' * 2, return_tensors="pt")
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


@pytest.fixture(scope="session")
def other_process():
    """A process that inherits nothing."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield lambda function, *arguments: pool.apply_async(function, arguments).get(timeout=600)
