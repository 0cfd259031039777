"""Models: any AutoModelForCausalLM by name or path, or a tiny GPT-2 with fresh weights."""

import inspect

import torch
from torch import Tensor
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
from training.learning.processes import processes

logging.disable_progress_bar()  # loading and saving models this small needs none


def device() -> str:
    return str(processes().device)


def load_model(name: str, *, dtype: str = "auto", device_map: str | None = None) -> PreTrainedModel:
    """Any causal language model, in the dtype that it was saved in or another (`bfloat16`).

    Raises:
        TrainingError: there is none of this name, or no such dtype or device map.
    """
    short = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
    if dtype != "auto" and not getattr(getattr(torch, short.get(dtype, dtype), None), "is_floating_point", False):
        raise TrainingError(f"no dtype of a model: {dtype!r}; expected auto, bfloat16, float16 or float32")
    with loading("causal language model", name):
        model = AutoModelForCausalLM.from_pretrained(name, dtype=short.get(dtype, dtype), device_map=device_map)
    return model if device_map else model.to(device())


def load_config(name: str) -> PretrainedConfig:
    with loading("model configuration", name):
        return AutoConfig.from_pretrained(name)


HEAD_WIDTH = 32


def require_own_size(name: str, layers: int | None, width: int | None) -> None:
    """
    Raises:
        TrainingError: a size is asked of a model that has one.
    """
    if layers or width:
        raise TrainingError(
            f"--layers and --width are of a model from scratch, and {name!r} has sizes of its own: leave them out, or"
            " begin with fresh weights"
        )


def tiny_gpt2(*, layers: int, width: int, vocab_size: int, context: int, eos: int, seed: int) -> PreTrainedModel:
    if layers < 1 or width < 1 or width % HEAD_WIDTH:
        raise TrainingError(
            f"a model from scratch has at least one layer, and heads of {HEAD_WIDTH}: --width must be a multiple of"
            f" that; got {layers} layer(s), width {width}"
        )
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=layers, n_embd=width, n_head=width // HEAD_WIDTH, vocab_size=vocab_size, n_positions=context,
        bos_token_id=eos, eos_token_id=eos, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).to(device())


@torch.no_grad()
def widen(model: PreTrainedModel, width: int) -> PreTrainedModel:
    """The model itself, with embeddings and logits for `width` tokens; the new ones begin as the mean of the others.

    A new token's logit is then the mean of the others', so that its probability is at most one in as many as there were
    (Hewitt, "Initializing New Word Embeddings for Pretrained Language Models", 2021): what a model says hardly changes.
    """
    before = logit_width(model.config)
    model.resize_token_embeddings(width, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):  # often the same weights
        for weight in (layer.weight, getattr(layer, "bias", None)):
            if weight is not None:
                weight[before:] = weight[:before].mean(0)
    return model


def logit_width(config: PretrainedConfig) -> int:
    return config.get_text_config().vocab_size


def context_length(config: PretrainedConfig) -> int | None:
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def position_ids(model: PreTrainedModel, mask: Tensor, new: int) -> dict[str, Tensor]:
    """Of the `new` last columns of `mask`, counted without padding on the left; none for a model that takes none."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return {}
    return {"position_ids": (mask.cumsum(dim=1) - 1).clamp_(min=0)[:, -new:]}


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
