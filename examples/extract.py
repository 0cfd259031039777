"""Extract an object from a text: what the model says can be nothing but the JSON of a pydantic model."""

from typing import Literal

import typer
from pydantic import BaseModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from examples.models import ModelName, load, prompts
from fastmask import Constraint
from fastmask.hf import ConstraintLogitsProcessor, vocabulary_for

MAX_NEW_TOKENS = 200
EMAIL = """Hello, this is Ada Lovelace. Would you have a table for the four of us on Friday evening?
By the window if you can, and one of us is vegetarian. Thank you!"""


class Booking(BaseModel):
    name: str
    guests: int
    day: Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    wishes: list[str]


def extract(text: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Booking:
    con = Constraint.from_schema(Booking, vocabulary_for(model, tokenizer))
    # Told how many tokens there are, the processor steers to an end in time: no answer is cut off.
    processor = ConstraintLogitsProcessor(con, max_new_tokens=MAX_NEW_TOKENS)
    # A constraint keeps the form; it is the prompt that tells the model which form will be kept.
    request = f"{text}\n\nThe booking as JSON (name, guests, day, wishes):"
    inputs = prompts([request], model, tokenizer)
    sequences = model.generate(**inputs, logits_processor=[processor], max_new_tokens=MAX_NEW_TOKENS)
    (answer,) = processor.answers(sequences)
    return Booking.model_validate_json(answer)


def main(model: ModelName = None) -> None:
    """Extract a booking from an e-mail and print it as JSON."""
    print(extract(EMAIL, *load(model)).model_dump_json(indent=2))


if __name__ == "__main__":
    typer.run(main)
