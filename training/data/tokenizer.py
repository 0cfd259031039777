"""The tokenizer: by name or path, or a byte-level BPE trained on the run's own text."""

from collections.abc import Iterable
from itertools import zip_longest

from rich import print
from rich.markup import escape
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config

import fastmask as fm
from training.errors import TrainingError, loading

END = "<|endoftext|>"
PAD = "<|pad|>"


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    if not has_tokenizer(name):  # transformers would make up an empty one
        raise TrainingError(f"no tokenizer can be loaded from {name!r}: there is no tokenizer_config.json")
    with loading("tokenizer", name):
        return AutoTokenizer.from_pretrained(name)


def has_tokenizer(name: str) -> bool:
    with loading("tokenizer", name):
        return bool(get_tokenizer_config(name))


def add_pad(tokenizer: PreTrainedTokenizerBase) -> None:
    """A token for padding where there is none: trainers that leave padding out of the loss would leave out EOS, too."""
    if tokenizer.pad_token_id is None:
        tokenizer.add_special_tokens({"pad_token": PAD})


def require_same_tokens(name: str, vocab: fm.Vocabulary) -> None:
    """Is token i the same for the model `name` as for the run? EOS and other special tokens are no text for either.

    Raises:
        TrainingError: the model's own tokenizer has other tokens; the first of them is named.
    """
    if not has_tokenizer(name):
        print(f"{escape(name)} comes without a tokenizer: its tokens are taken to be the run's")
        return
    own = fm.Vocabulary.from_tokenizer(load_tokenizer(name))
    for token, (theirs, ours) in enumerate(zip_longest(own.tokens, vocab.tokens)):
        if theirs != ours:
            raise TrainingError(
                f"{name} has another tokenizer than the run: token {token:,} is {theirs or 'no text'} there and"
                f" {ours or 'no text'} here. Teacher and student are compared token by token; take models with the same"
                " tokenizer. A run takes that of a model from: python -m training.prepare --teacher …"
            )


def train_bpe(texts: Iterable[str], size: int = 1000) -> PreTrainedTokenizerFast:
    """A small vocabulary keeps the logits small: on a CPU the last layer is most of a small model's work."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=size, special_tokens=[END], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token=END, pad_token=END)
