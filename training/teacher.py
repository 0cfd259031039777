"""The teacher: by name or path, or a small one trained here on deliberately sloppy answers.

A teacher that is already perfect in the format leaves a penalty nothing to do, and a small one trained on
clean answers is nearly that. Large pretrained teachers are not: they know the task, and many ways to write
its answer down. So ours learns from answers in which a share of the entries has other key names, other
spellings of the tag, or odd punctuation, and in which a comma may follow the last entry. What it says about
words and tags is right; the way it says it often is not.
"""

import random

from rich import print
from transformers import PreTrainedModel

from training.examples import Example, encode
from training.gradients import Term
from training.learn import CHECKPOINT_EVERY, UPKEEP, Upkeep, learn
from training.losses import cross_entropy
from training.models import tiny_gpt2
from training.program import Accumulate, CheckpointEvery, KeepCheckpoint, Restart, RunFolder, Steps, program
from training.run import TOKENS_PER_BATCH, Run, open_run
from training.schema import to_json
from training.streams import EndlessBatches

TEACHER_STEPS = 900
LEARNING_RATE = 2e-3
SLOPPINESS = 0.4  # the share of entries with a slip
SLOPPY_COPIES = 4  # answers to each sentence, each sloppy in its own way


def sloppy_answer(words: list[tuple[str, str]], rng: random.Random) -> str:
    entries = [sloppy_entry(form, tag, rng) for form, tag in words]
    last_comma = "," if rng.random() < SLOPPINESS else ""
    return '{"tokens":[' + ",".join(entries) + last_comma + "]}"


def sloppy_entry(form: str, tag: str, rng: random.Random) -> str:
    """One `{"text":…,"pos":…}`, with at most one slip."""
    text_key, tag_key, colon = "text", "pos", ":"
    slip = rng.choice(["text key", "tag key", "tag", "colon"]) if rng.random() < SLOPPINESS else None
    if slip == "text key":
        text_key = rng.choice(["word", "token", "form"])
    elif slip == "tag key":
        tag_key = rng.choice(["tag", "upos", "type"])
    elif slip == "tag":
        tag = tag.lower()
    elif slip == "colon":
        colon = rng.choice(["=", ":  ", "  :"])
    return f'{{"{text_key}":{to_json(form)},"{tag_key}"{colon}"{tag}"}}'


def sloppy_examples(run: Run) -> list[Example]:
    rng = random.Random(run.settings.seed)
    examples = [
        encode(s.name, s.text, sloppy_answer(s.words, rng), run.tokenizer, run.vocab)
        for s in run.sentences
        for _ in range(SLOPPY_COPIES)
    ]
    fitting = [example for example in examples if len(example.tokens) <= run.settings.max_length]
    if len(fitting) < len(examples):
        print(f"{len(examples) - len(fitting)} of {len(examples):,} sloppy answers are too long and left out")
    return fitting


def train_teacher(run: Run, *, steps: int = TEACHER_STEPS, upkeep: Upkeep = UPKEEP) -> PreTrainedModel:
    """A small GPT-2 from scratch, on sloppy answers."""
    model = tiny_gpt2(layers=2, width=128, seed=run.settings.seed, **run.tiny_model_settings)
    batches = EndlessBatches(sloppy_examples(run), run.con, TOKENS_PER_BATCH, run.settings.seed, model.device)
    terms = [Term("cross-entropy", batches, cross_entropy)]
    return learn(
        run, "teacher", model, terms,
        title="teacher (sloppy)", steps=steps, learning_rate=LEARNING_RATE, upkeep=upkeep,
    )  # fmt: skip


def main(
    run: RunFolder,
    steps: Steps = TEACHER_STEPS,
    accumulate: Accumulate = 1,
    checkpoint_every: CheckpointEvery = CHECKPOINT_EVERY,
    keep_checkpoint: KeepCheckpoint = False,
    restart: Restart = False,
) -> None:
    """Train a small, deliberately sloppy teacher and keep it as RUN/teacher."""
    upkeep = Upkeep(accumulate, checkpoint_every, keep_checkpoint, restart)
    train_teacher(open_run(run), steps=steps, upkeep=upkeep)


if __name__ == "__main__":
    program(main)
