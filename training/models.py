"""Models: any AutoModelForCausalLM by name or path, or a tiny GPT-2 with fresh weights."""

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from training.errors import TrainingError, loading
from training.processes import processes

logging.disable_progress_bar()  # loading and saving models this small needs none


def device() -> str:
    return str(processes().device)


def load_model(name: str) -> PreTrainedModel:
    with loading("causal language model", name):
        return AutoModelForCausalLM.from_pretrained(name).to(device())


def load_config(name: str) -> PretrainedConfig:
    with loading("model configuration", name):
        return AutoConfig.from_pretrained(name)


def tiny_gpt2(*, layers: int, width: int, vocab_size: int, context: int, eos: int, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=layers, n_embd=width, n_head=width // 32, vocab_size=vocab_size, n_positions=context,
        bos_token_id=eos, eos_token_id=eos, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).to(device())


def logit_width(config: PretrainedConfig) -> int:
    return config.get_text_config().vocab_size


def context_length(config: PretrainedConfig) -> int | None:
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def check_fits(role: str, model: PreTrainedModel, width: int, max_length: int) -> PreTrainedModel:
    """The model itself, or a word now in place of an index error in the middle of training."""
    if (found := logit_width(model.config)) != width:
        raise TrainingError(
            f"the {role}'s logits are {found:,} wide and the run's {width:,}: teacher and student are compared token "
            "by token, so token i must be the same for both; take models with the same tokenizer"
        )
    if (context := context_length(model.config) or max_length) < max_length:
        raise TrainingError(
            f"the {role} reads {context:,} tokens and examples may have {max_length:,}; use --max-length {context}"
        )
    return model
