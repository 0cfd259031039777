"""Choose among labels: a classifier without training, for a batch of texts at once."""

import typer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from examples.models import ModelName, load, prompts
from fastmask import Constraint
from fastmask.hf import ConstraintLogitsProcessor, vocabulary_for

LABELS = ["praise", "complaint", "question", "something else"]
MAX_NEW_TOKENS = 20
MESSAGES = [
    "The soup was the best I have had in years.",
    "We waited an hour for our table, and nobody told us why.",
    "Do you open on Sundays?",
]


def choose(messages: list[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The label of each message."""
    con = Constraint.from_choices(LABELS, vocabulary_for(model, tokenizer))
    requests = [f"{message}\n\nIs this {', '.join(LABELS[:-1])} or {LABELS[-1]}? It is:" for message in messages]
    inputs = prompts(requests, model, tokenizer)
    processor = ConstraintLogitsProcessor(con, max_new_tokens=MAX_NEW_TOKENS)
    sequences = model.generate(**inputs, logits_processor=[processor], max_new_tokens=MAX_NEW_TOKENS)
    return processor.answers(sequences)


def main(model: ModelName = None) -> None:
    """Label three messages and print each behind its label."""
    for label, message in zip(choose(MESSAGES, *load(model)), MESSAGES, strict=True):
        print(f"{label:16}{message}")


if __name__ == "__main__":
    typer.run(main)
