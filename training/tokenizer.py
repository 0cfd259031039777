"""The tokenizer: by name or path, or a byte-level BPE trained on the run's own text."""

from collections.abc import Iterable

from tokenizers import ByteLevelBPETokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from training.errors import loading

END = "<|endoftext|>"


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    with loading("tokenizer", name):
        return AutoTokenizer.from_pretrained(name)


def train_bpe(texts: Iterable[str], size: int = 1000) -> PreTrainedTokenizerFast:
    """A small vocabulary keeps the logits small: on a CPU the last layer is most of a small model's work."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=size, special_tokens=[END], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token=END, pad_token=END)
