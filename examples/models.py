"""What every example needs and none is about: a model, its prompts, its answers' texts."""

import sys
from typing import Annotated

import torch
import typer
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BatchEncoding,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

ModelName = Annotated[
    str | None,
    typer.Option("--model", help="a causal language model by name or folder; default: a tiny untrained one"),
]

END = "<|endoftext|>"
END_OF_THINKING = "</think>"  # what Qwen3, DeepSeek-R1 and others call it, and our tiny model with them


def load(name: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The named model and its tokenizer, or tiny ones made on the spot; the draws that follow are seeded."""
    torch.manual_seed(0)
    if name is None:
        print("A tiny untrained model: what it says is nonsense, but the form holds.", file=sys.stderr)
        return tiny()
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")  # an answer stands right behind its prompt
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(name, dtype="auto")
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def prompts(requests: list[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> BatchEncoding:
    """A batch of prompts: turns of a chat where the model knows chats, the bare texts elsewhere."""
    if tokenizer.chat_template is None:
        # Tokens of words often begin with a space, which no answer here does; behind a line break that is natural.
        lines = [f"{request}\n" for request in requests]
        return tokenizer(lines, padding=True, return_tensors="pt").to(model.device)
    chats = [[{"role": "user", "content": request}] for request in requests]
    return tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
    ).to(model.device)


def text_of(generated: Tensor | list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """The text to the letter, as the constraint saw it: cleaning up would take spaces out of an answer's strings."""
    return tokenizer.decode(generated, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def tiny() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A byte-level BPE of a few sentences, and a Llama of one layer that was never trained."""
    bpe = ByteLevelBPETokenizer()
    sentences = ["The table by the window is free on Monday evening.", '{"name": "Ada", "guests": 4, "wishes": []}']
    bpe.train_from_iterator(sentences * 2, vocab_size=400, special_tokens=[END], show_progress=False)
    backend = bpe._tokenizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, pad_token=END, padding_side="left")
    tokenizer.add_tokens([END_OF_THINKING])
    config = LlamaConfig(
        vocab_size=512,  # wider than the tokenizer, as most models are: vocabulary_for knows
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.generation_config.do_sample = True  # its likeliest token is always the same one
    return model, tokenizer
