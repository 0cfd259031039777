"""What the tests of training share: a byte vocabulary with three answers, a tiny treebank, and a run over it.

Fixtures are imported by name: `from tests.training_kit import con, examples, one_thread`, the last of which is for
every test of the module.
"""

import pytest
import torch

import fastmask as fm
from training.data.examples import encode
from training.demo import demo
from training.learning.models import tiny_gpt2

EOS = 256
BYTES = fm.Vocabulary([bytes([i]) for i in range(256)] + [None], EOS)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models this small lose more to threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class ByteTokenizer:
    """A token for each byte, so that ids can be read off the text."""

    eos_token_id = EOS

    def __init__(self, prefix=""):
        self.prefix = prefix

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return type("Encoding", (), {"input_ids": list((self.prefix + text).encode())})


def tiny(seed=0, **changes):
    return tiny_gpt2(**{"layers": 1, "width": 32, "vocab_size": 257, "context": 64, "eos": EOS, "seed": seed} | changes)


@pytest.fixture(scope="module")
def con():
    return fm.Constraint.from_choices(["yes", "no", "never"], BYTES)


@pytest.fixture(scope="module")
def examples():
    return [encode(f"{i}", text, reply, ByteTokenizer(), BYTES) for i, (text, reply) in enumerate(
        [("ab", "no"), ("a longer one", "yes"), ("", "never"), ("ok?", "no")]
    )]  # fmt: skip


def losses_and_gradient(model, loss_of, batches):
    """[N] losses over all batches, and the gradient of their sum over N."""
    model.zero_grad()
    parts = [loss_of(batch) for batch in batches]
    losses = torch.cat(parts)
    (losses.sum() / len(losses)).backward()
    return losses.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


FEW = {"teacher_steps": 2, "student_steps": 2, "finetune_steps": 2, "samples": 3}


@pytest.fixture(scope="module")
def treebank(tmp_path_factory):
    """Twelve documents of three sentences."""
    lines = []
    for who in ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal", "Ida", "Jo", "Kit", "Lou"):
        lines.append(f"# newdoc id = {who}")
        for verb, adjectives in (("pours", []), ("drinks", []), ("spills", [("hot", "ADJ")])):
            words = [(who, "PROPN"), (verb, "VERB"), *adjectives, ("tea", "NOUN"), (".", "PUNCT")]
            lines.append(f"# sent_id = {who}-{verb}\n# text = {' '.join(form for form, _ in words)}")
            lines += [f"{i}\t{form}\t_\t{tag}" + "\t_" * 6 for i, (form, tag) in enumerate(words, start=1)]
            lines.append("")
    path = tmp_path_factory.mktemp("treebank") / "tea.conllu"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def finished(treebank, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "demo"
    demo(out=out, treebank=[treebank], **FEW)
    return out
