"""The teacher: a small one from scratch, or any causal language model, trained on sloppy answers or on clean ones."""

import random
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich import print
from transformers import PreTrainedModel

from fastmask.errors import InputError
from training.data.examples import Example, encode
from training.data.sloppy import sloppy_answer
from training.distillation.instruction import Instruction, instruction_of
from training.errors import TrainingError
from training.learning.gradients import Term
from training.learning.learn import CHECKPOINT_EVERY, UPKEEP, Upkeep, learn
from training.learning.losses import cross_entropy
from training.learning.models import check_fits, require_own_size, tiny_gpt2
from training.learning.streams import EndlessBatches
from training.program import (
    Accumulate,
    Chat,
    CheckpointEvery,
    DeviceMap,
    Dtype,
    KeepCheckpoint,
    Prompt,
    Restart,
    RunFolder,
    Steps,
    layers_option,
    program,
    width_option,
)
from training.run import TOKENS_PER_BATCH, Run, open_run

TEACHER_STEPS = 900
LEARNING_RATE = 2e-3
FINETUNE_LEARNING_RATE = 5e-5  # of a model that has learnt before
LAYERS, WIDTH = 2, 128
SLOPPINESS = 0.4  # the share of entries with a slip
SLOPPY_COPIES = 4  # answers to each text, each sloppy in its own way


def train_teacher(
    run: Run,
    model: PreTrainedModel | None = None,
    *,
    name: str = "teacher",
    title: str = "teacher",
    sloppiness: float = SLOPPINESS,
    steps: int = TEACHER_STEPS,
    learning_rate: float = LEARNING_RATE,
    instruction: Instruction | None = None,
    upkeep: Upkeep = UPKEEP,
) -> PreTrainedModel:
    """Trains `model` in place, or a small GPT-2 from scratch, and keeps it under `name`.

    Args:
        instruction: what it reads before each answer, as it will when a student is distilled from it.

    Raises:
        TrainingError: a sloppiness outside 0 … 1; a model of another vocabulary, or that reads too little.
    """
    model = model or new_teacher(run, instruction=instruction)
    check_fits("teacher", model, run.settings.width, run.settings.max_length)
    examples, heldout = sloppy_examples(run, sloppiness), run.some_heldout()
    if instruction:
        instruction.require_room(((example, len(example.answer)) for example in examples + heldout), model)
        examples, heldout = ([instruction.as_read(each) for each in part] for part in (examples, heldout))
    batches = EndlessBatches(examples, run.con, TOKENS_PER_BATCH, run.settings.seed, model.device)
    prompted = {"prompt": instruction.template, "chat": instruction.chat} if instruction else {}
    return learn(
        run, name, model, [Term("cross-entropy", batches, cross_entropy)],
        title=f"{title} ({'sloppy' if sloppiness else 'clean'})", steps=steps, learning_rate=learning_rate,
        upkeep=upkeep, heldout=heldout, sloppiness=sloppiness, **prompted,
    )  # fmt: skip


def new_teacher(
    run: Run, layers: int | None = None, width: int | None = None, instruction: Instruction | None = None
) -> PreTrainedModel:
    """A GPT-2 with fresh weights, and with room for the instruction behind what it says of an input."""
    settings = run.tiny_model_settings
    if instruction:
        longer = (instruction.as_read(each).start - each.start for each in run.train + run.heldout)
        settings["context"] += max(0, *longer)
    return tiny_gpt2(layers=layers or LAYERS, width=width or WIDTH, seed=run.settings.seed, **settings)


def sloppy_examples(run: Run, sloppiness: float) -> list[Example]:
    """What the teacher learns from: several sloppy answers to each text, or the right ones at sloppiness 0."""
    if not 0 <= sloppiness <= 1:
        raise TrainingError(f"sloppiness is the share of entries with a slip, from 0 to 1, got {sloppiness:g}")
    if not sloppiness:
        return run.train
    rng = random.Random(run.settings.seed)
    copies = [record for record in run.records for _ in range(SLOPPY_COPIES)]
    examples = []
    for record in copies:
        answer = sloppy_answer(record.answer, sloppiness, rng)
        with suppress(InputError):  # the tokenizer lacks a character of the slip
            examples.append(encode(record.name, record.text, answer, run.tokenizer, run.vocab))
    fitting = [example for example in examples if len(example.tokens) <= run.settings.max_length]
    if len(fitting) < len(copies):
        print(f"{len(copies) - len(fitting):,} of {len(copies):,} sloppy answers are too long or not spelled: left out")
    return fitting


def main(
    run: RunFolder,
    model: Annotated[
        str | None, typer.Option(help="fine-tune this one, by name or path; default: a small GPT-2 from scratch")
    ] = None,
    sloppiness: Annotated[
        float, typer.Option(min=0, max=1, help="share of the entries that it learns with a slip; 0: clean answers")
    ] = SLOPPINESS,
    layers: Annotated[int | None, layers_option(LAYERS)] = None,
    width: Annotated[int | None, width_option(WIDTH)] = None,
    prompt: Prompt = None,
    chat: Chat = False,
    dtype: Dtype = "auto",
    device_map: DeviceMap = None,
    name: Annotated[str, typer.Option(help="the teacher is kept as RUN/NAME")] = "teacher",
    learning_rate: Annotated[
        float | None, typer.Option(help=f"default: {LEARNING_RATE} from scratch, {FINETUNE_LEARNING_RATE} otherwise")
    ] = None,
    steps: Steps = TEACHER_STEPS,
    accumulate: Accumulate = 1,
    checkpoint_every: CheckpointEvery = CHECKPOINT_EVERY,
    keep_checkpoint: KeepCheckpoint = False,
    restart: Restart = False,
) -> None:
    """Train a small teacher from scratch, or fine-tune any causal language model, and keep it in RUN.

    With --prompt it learns to answer behind that, as it is asked when a student is distilled from it.
    """
    if model:
        require_own_size(model, layers, width)
    opened = open_run(run)
    instruction = instruction_of(opened, prompt, chat=chat)
    if model:
        teacher = opened.load(model, dtype=dtype, device_map=device_map)
    else:
        teacher = new_teacher(opened, layers, width, instruction)
    train_teacher(
        opened,
        teacher,
        name=name,
        title=f"teacher {Path(model).name}" if model else "teacher",
        sloppiness=sloppiness,
        steps=steps,
        learning_rate=learning_rate or (FINETUNE_LEARNING_RATE if model else LEARNING_RATE),
        instruction=instruction,
        upkeep=Upkeep(accumulate, checkpoint_every, keep_checkpoint, restart),
    )


if __name__ == "__main__":
    program(main)
