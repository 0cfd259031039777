"""Task distillation: the teacher reads an instruction and the schema with each input, the student does not.

A large teacher knows the task once it is told; the student is to know it by heart. So the two read different prompts
and the same answer, token by token: the teacher's positions are those that predict the answer's tokens behind *its*
prompt, however long that is and on whichever side a batch is padded. The prompt is tokenised apart from the answer, so
the boundary is exact.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import fastmask as fm
from fastmask.canonical import spelling
from fastmask.cli.loading import load_schema
from fastmask.schema import schema_text
from training.data.examples import NO_WORD, Batch, Example
from training.data.records import read_text
from training.errors import TrainingError
from training.learning.models import context_length, position_ids
from training.run import Run
from training.schema import to_json

FIELD = re.compile(r"\{(schema|input)\}")


@dataclass(frozen=True)
class Reading:
    """A batch as the teacher reads it."""

    inputs: dict[str, Tensor]  # by the names that a model's forward gives them, each [B,T']
    predicts: Tensor  # bool [B,T']: the logits here predict a token of the answer; True at the batch's N positions


@dataclass(frozen=True)
class Instruction:
    """What stands before the answer when the teacher reads it.

    Raises:
        TrainingError: a template without `{input}`; `chat` with a tokenizer that has no chat template.
    """

    template: str  # `{input}` is what is to be answered, `{schema}` the JSON schema; other braces stay
    schema: str
    tokenizer: PreTrainedTokenizerBase
    vocab: fm.Vocabulary
    chat: bool = False  # as a user's message in the tokenizer's chat template, which adds what begins the answer
    padding_side: Literal["left", "right"] = "right"
    _known: dict[str, list[int]] = field(default_factory=dict, repr=False, compare=False)  # prompts by input

    def __post_init__(self) -> None:
        if "{input}" not in self.template:
            raise TrainingError(
                f"a prompt needs {{input}}, for the text to answer, and may have {{schema}}; {self.template!r:.80} is"
                " neither such a text nor the name of a file that holds one"
            )
        if self.chat and not self.tokenizer.chat_template:
            raise TrainingError("--chat: the run's tokenizer has no chat template; leave the option out")

    def as_read(self, example: Example) -> Example:
        """The same answer behind the teacher's prompt.

        The input is what the example's prompt spells, without the space that SentencePiece puts first.
        """
        text = spelling(example.prompt, self.vocab).decode(errors="replace").removeprefix(" ")
        if text not in self._known:
            self._known[text] = self._encode(self.fill(text))
        prompt = self._known[text]
        if not prompt:
            raise TrainingError(f"example {example.name}: the prompt has no token: say something before {{input}}")
        words = [NO_WORD] * len(prompt) + example.word[example.start :]
        return Example(example.name, [*prompt, *example.answer], len(prompt), words)

    def fill(self, text: str) -> str:
        values = {"schema": self.schema, "input": text}
        return FIELD.sub(lambda match: values[match[1]], self.template)

    def read(self, batch: Batch, teacher: PreTrainedModel) -> Reading:
        """The batch's answers behind the teacher's prompts."""
        rows = [self.as_read(example) for example in batch.examples]
        width = max(len(row.tokens) for row in rows)
        left = self.padding_side == "left"
        tokens = torch.zeros(len(rows), width, dtype=torch.long)  # any id will do: padding is never read
        mask, predicts = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
        for b, row in enumerate(rows):
            end = width if left else len(row.tokens)
            begin = end - len(row.tokens)
            tokens[b, begin:end] = torch.tensor(row.tokens)
            mask[b, begin:end] = 1
            predicts[b, begin + row.start - 1 : end - 1] = True
        inputs = {"input_ids": tokens}
        if left:  # on the right, attention is causal and sees no padding
            inputs |= {"attention_mask": mask, **position_ids(teacher, mask, width)}
        device = batch.tokens.device
        return Reading({name: x.to(device) for name, x in inputs.items()}, predicts.to(device))

    def require_room(self, answers: Iterable[tuple[Example, int]], teacher: PreTrainedModel) -> None:
        """Raises TrainingError for the first example whose prompt and answer the teacher cannot read at once.

        Args:
            answers: examples, and how many tokens the answer to each may have.
        """
        context = context_length(teacher.config)
        for example, answer in answers if context else ():
            if (prompt := self.as_read(example).start) + answer > context:
                raise TrainingError(
                    f"example {example.name}: a prompt of {prompt:,} tokens and an answer of {answer:,} do not fit into"
                    f" the {context:,} that the teacher reads; give a shorter --prompt, or prepare the run with a"
                    " smaller --max-length"
                )

    def _encode(self, text: str) -> list[int]:
        if not self.chat:
            return list(self.tokenizer(text, add_special_tokens=True).input_ids)  # a BOS, where the model wants one
        message = [{"role": "user", "content": text}]
        return list(self.tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False))


def instruction_of(run: Run, prompt: str | None, *, chat: bool = False) -> Instruction | None:
    """Of a program's options: the prompt's text or a file of it, for the run's schema and tokenizer."""
    if prompt is None:
        if chat:
            raise TrainingError("--chat is about how the teacher is given its --prompt: give that, too")
        return None
    text = read_text(Path(prompt)) if os.path.isfile(prompt) else prompt  # a text may be no valid path
    schema = to_json(json.loads(schema_text(load_schema(run.settings.schema))))
    side = "left" if run.tokenizer.padding_side == "left" else "right"  # as the model is used to
    return Instruction(text, schema, run.tokenizer, run.vocab, chat, side)
