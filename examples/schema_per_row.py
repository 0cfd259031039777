"""One batch, another form for each row: two schemas, and a row that is free."""

import typer
from pydantic import BaseModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from examples.models import ModelName, load, prompts
from fastmask import Constraint
from fastmask.hf import ConstraintLogitsProcessor, vocabulary_for

MAX_NEW_TOKENS = 100
REQUESTS = [
    "Who wrote the first computer program? As JSON (name, born):",
    "What is the capital of Portugal? As JSON (name, country, on_the_sea):",
    "Say something nice.",
]


class Person(BaseModel):
    name: str
    born: int


class City(BaseModel):
    name: str
    country: str
    on_the_sea: bool


def ask(requests: list[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[Person, City, str]:
    vocabulary = vocabulary_for(model, tokenizer)  # read once, shared by all constraints
    constraints = [Constraint.from_schema(Person, vocabulary), Constraint.from_schema(City, vocabulary), None]
    processor = ConstraintLogitsProcessor(constraints, max_new_tokens=MAX_NEW_TOKENS)
    inputs = prompts(requests, model, tokenizer)
    sequences = model.generate(**inputs, logits_processor=[processor], max_new_tokens=MAX_NEW_TOKENS)
    person, city, free = processor.answers(sequences)
    return Person.model_validate_json(person), City.model_validate_json(city), free


def main(model: ModelName = None) -> None:
    """Ask for a person, a city and a kind word, and print the three answers."""
    for answer in ask(REQUESTS, *load(model)):
        print(repr(answer))


if __name__ == "__main__":
    typer.run(main)
