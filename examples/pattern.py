"""An answer in the shape of a regular expression: an ISO date."""

import typer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from examples.models import ModelName, load, prompts
from fastmask import Constraint
from fastmask.hf import ConstraintLogitsProcessor, vocabulary_for

# The dialect is that of Rust's `regex` crate; the whole answer must match, so there is no ^ and no $. [0-9] rather
# than \d, which takes the digits of every script. A pattern knows no calendar: it lets 31 February pass.
ISO_DATE = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
MAX_NEW_TOKENS = 20
QUESTION = "When did people first walk on the Moon?"


def date_of(question: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    con = Constraint.from_regex(ISO_DATE, vocabulary_for(model, tokenizer))
    inputs = prompts([f"{question} The date in ISO 8601, YYYY-MM-DD:"], model, tokenizer)
    processor = ConstraintLogitsProcessor(con, max_new_tokens=MAX_NEW_TOKENS)
    sequences = model.generate(**inputs, logits_processor=[processor], max_new_tokens=MAX_NEW_TOKENS)
    (answer,) = processor.answers(sequences)
    return answer


def main(model: ModelName = None) -> None:
    """Ask for a date and print it."""
    print(date_of(QUESTION, *load(model)))


if __name__ == "__main__":
    typer.run(main)
