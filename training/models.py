"""Models: any AutoModelForCausalLM by name or path, or a tiny GPT-2 with fresh weights."""

import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel
from transformers.utils import logging

from training.errors import TrainingError

logging.disable_progress_bar()  # loading and saving models this small needs none


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_model(name: str) -> PreTrainedModel:
    try:
        return AutoModelForCausalLM.from_pretrained(name).to(device())
    except OSError as error:  # transformers raises it for a wrong name, a wrong path and a missing network alike
        raise TrainingError(f"no causal language model can be loaded from {name!r}: {error}") from error


def tiny_gpt2(*, layers: int, width: int, vocab_size: int, context: int, eos: int, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=layers, n_embd=width, n_head=width // 32, vocab_size=vocab_size, n_positions=context,
        bos_token_id=eos, eos_token_id=eos, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).to(device())


def logit_width(config) -> int:
    return config.get_text_config().vocab_size


def context_length(config) -> int | None:
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def check_pair(teacher: PreTrainedModel, student: PreTrainedModel, max_length: int) -> None:
    """Said before the first step, not as an index error somewhere inside it."""
    ours, theirs = logit_width(teacher.config), logit_width(student.config)
    if ours != theirs:
        raise TrainingError(
            f"the teacher's logits are {ours:,} wide and the student's {theirs:,}: distillation compares them "
            "token by token, so token i must be the same for both; take a student with the teacher's tokenizer"
        )
    for role, model in (("teacher", teacher), ("student", student)):
        context = context_length(model.config)
        if context and context < max_length:
            raise TrainingError(
                f"the {role} reads {context:,} tokens and examples may have {max_length:,}; use --max-length {context}"
            )
