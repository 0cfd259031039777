"""Sampled answers, free or held to the schema, and what became of each.

Temperature 1 and nothing cut away: greedy decoding hides most of what a model would say.
"""

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
    """One answer for each example's prompt: ids, with everything from the first EOS on being EOS."""
    torch.manual_seed(run.settings.seed)
    processors = [ConstraintLogitsProcessor(run.con)] if constrained else []
    eos = run.tokenizer.eos_token_id
    answers: list[list[int]] = []
    groups = [examples[i : i + PROMPTS_AT_ONCE] for i in range(0, len(examples), PROMPTS_AT_ONCE)]
    for group in tqdm(groups, desc=title, unit="batch", dynamic_ncols=True):
        width = max(example.start for example in group)
        prompts = torch.full((len(group), width), eos)  # [B,P], padded on the left
        mask = torch.zeros_like(prompts)
        for b, example in enumerate(group):
            prompts[b, width - example.start :] = torch.tensor(example.prompt)
            mask[b, width - example.start :] = 1
        longest = max(len(example.answer) for example in group)
        room = min(longest * 3 // 2, run.settings.max_length - width)
        config = GenerationConfig(
            do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            max_new_tokens=room, eos_token_id=eos, pad_token_id=eos,
        )  # fmt: skip
        texts = model.generate(
            prompts.to(model.device), attention_mask=mask.to(model.device),
            generation_config=config, logits_processor=processors,
        )  # fmt: skip
        answers += texts[:, width:].tolist()
    return answers


def judge(answers: list[list[int]], con) -> list[str]:
    """A verdict for each answer. Cut off: no token broke the schema, but the room ran out before the end."""
    checked = con.check(answers)
    return [
        "invalid" if error >= 0 else "valid" if complete else "cut off"
        for error, complete in zip(checked.first_error, checked.complete, strict=True)
    ]
