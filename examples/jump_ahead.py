"""Ask the model only where it has a choice: brackets, keys and separators are appended without it."""

import sys
from typing import Literal

import typer
from pydantic import BaseModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from examples.models import ModelName, load, prompts
from fastmask import Constraint
from fastmask.hf import JumpAhead, generate_jumping_ahead, vocabulary_for

MAX_NEW_TOKENS = 100
MESSAGE = "We waited an hour for our table, and nobody told us why. I want my money back!"


class Ticket(BaseModel):
    department: Literal["kitchen", "service", "billing"]
    urgency: Literal["low", "normal", "high"]
    answer_expected: bool


def file_ticket(message: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> JumpAhead:
    # Where a space may stand there is a choice. Without spaces, each key follows of itself.
    con = Constraint.from_schema(Ticket, vocabulary_for(model, tokenizer), whitespace="")
    inputs = prompts([f"{message}\n\nThe ticket as JSON (department, urgency, answer_expected):"], model, tokenizer)
    return generate_jumping_ahead(
        model, tokenizer, con, inputs["input_ids"],
        max_new_tokens=MAX_NEW_TOKENS, do_sample=model.generation_config.do_sample,
    )  # fmt: skip


def main(model: ModelName = None) -> None:
    """Print the ticket, and how many of its tokens came without the model."""
    found = file_ticket(MESSAGE, *load(model))
    print(Ticket.model_validate_json(found.answer).model_dump_json(indent=2))
    print(f"{found.model_calls} calls of the model, {found.tokens_saved} tokens without one", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
