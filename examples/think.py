"""Think freely, then answer in a form: the constraint begins behind a text, or behind a token."""

import typer
from pydantic import BaseModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import fastmask as fm
from examples.models import END_OF_THINKING, ModelName, load, prompts, text_of
from fastmask.hf import ConstraintLogitsProcessor, vocabulary_for

MAX_NEW_TOKENS = 400
QUESTION = "A bat and a ball cost 110 cents together. The bat costs 100 cents more than the ball. What does each cost?"
FORM = "the prices in cents as JSON (bat, ball)"


class Prices(BaseModel):
    bat: int
    ball: int


def behind_a_text(question: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[str, Prices]:
    """Thought and answer of any model that does as it is told."""
    request = f"{question} Think step by step. Then write <answer> and behind it {FORM}."
    generated = think(request, "<answer>", model, tokenizer)
    thought, _, answer = text_of(generated, tokenizer).partition("<answer>")
    return thought, Prices.model_validate_json(answer)


def behind_a_token(question: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[str, Prices]:
    """Thought and answer of a model that was trained to think, and has a token with which it ends thinking."""
    end = tokenizer.convert_tokens_to_ids(END_OF_THINKING)
    generated = think(f"{question} Answer with {FORM}.", fm.after(end), model, tokenizer)
    begin = generated.index(end)
    return text_of(generated[:begin], tokenizer), Prices.model_validate_json(text_of(generated[begin + 1 :], tokenizer))


def think(request: str, start: str | fm.After, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of thought and answer."""
    con = fm.Constraint.from_schema(Prices, vocabulary_for(model, tokenizer))
    # A model may think for ever. Told how many tokens there are, the processor has it begin its answer while there is
    # room for the shortest one: give it plenty, so that it comes to an end by itself.
    processor = ConstraintLogitsProcessor(con, start=start, max_new_tokens=MAX_NEW_TOKENS)
    inputs = prompts([request], model, tokenizer)
    (sequence,) = model.generate(**inputs, logits_processor=[processor], max_new_tokens=MAX_NEW_TOKENS)
    return sequence[inputs["input_ids"].shape[1] :].tolist()


def main(model: ModelName = None) -> None:
    """Print thought and answer, for each of the two ways that the model can go."""
    llm, tokenizer = load(model)
    ways = [behind_a_text]
    if END_OF_THINKING in tokenizer.get_vocab():
        ways.append(behind_a_token)
    for way in ways:
        thought, prices = way(QUESTION, llm, tokenizer)
        print(f"thought: {thought!r}\nanswer:  {prices!r}\n")


if __name__ == "__main__":
    typer.run(main)
