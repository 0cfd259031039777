"""Sampled answers, free or held to the schema, and what became of each.

Temperature 1 and nothing cut away: greedy decoding hides most of what a model would say.
"""

from collections.abc import Sequence

import torch
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel

from fastmask.hf import ConstraintLogitsProcessor
from training.examples import Example
from training.run import Run

PROMPTS_AT_ONCE = 64
VERDICTS = ("valid", "invalid", "cut off")


def sample(
    run: Run, model: PreTrainedModel, examples: list[Example], *, constrained: bool, title: str
) -> list[list[int]]:
    """One answer for each example's prompt: ids, up to the first EOS."""
    torch.manual_seed(run.settings.seed)
    processors = [ConstraintLogitsProcessor(run.con)] if constrained else []
    groups = [examples[i : i + PROMPTS_AT_ONCE] for i in range(0, len(examples), PROMPTS_AT_ONCE)]
    answers: list[list[int]] = []
    for group in tqdm(groups, desc=title, unit="batch", dynamic_ncols=True):
        answers += continue_prompts(model, group, run.tokenizer.eos_token_id, run.settings.max_length, processors)
    return answers


def continue_prompts(
    model: PreTrainedModel,
    examples: list[Example],
    eos: int,
    max_length: int,
    processors: Sequence = (),
    *,
    greedy: bool = False,
) -> list[list[int]]:
    """What the model writes behind each prompt: ids, up to the first EOS.

    At most half as long again as the longest right answer, where one is known.
    """
    width = max(example.start for example in examples)
    prompts = torch.full((len(examples), width), eos)  # [B,P], padded on the left
    mask = torch.zeros_like(prompts)
    for b, example in enumerate(examples):
        prompts[b, width - example.start :] = torch.tensor(example.prompt)
        mask[b, width - example.start :] = 1
    longest, room = max(len(example.answer) for example in examples), max_length - width
    drawn = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    config = GenerationConfig(
        **drawn,
        max_new_tokens=min(longest * 3 // 2 or room, room), eos_token_id=eos, pad_token_id=eos,
    )  # fmt: skip
    texts = model.generate(
        prompts.to(model.device), attention_mask=mask.to(model.device),
        generation_config=config, logits_processor=list(processors),
    )  # fmt: skip
    return [ids[: ids.index(eos) + 1] if eos in ids else ids for ids in texts[:, width:].tolist()]


def judge(answers: list[list[int]], con) -> list[str]:
    """A verdict for each answer. Cut off: no token broke the schema, but the room ran out before the end."""
    checked = con.check(answers)
    return [
        "invalid" if error >= 0 else "valid" if complete else "cut off"
        for error, complete in zip(checked.first_error, checked.complete, strict=True)
    ]
