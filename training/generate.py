"""A model of a run on sentences of your own: what it writes freely, and what it writes under the constraint."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers import PreTrainedModel

from training.examples import prompt_of, require_room
from training.program import RunFolder, program
from training.run import Run, open_run
from training.sampling import judge, sample

STYLES = {"valid": "green", "invalid": "red", "cut off": "yellow"}


def generate(run: Run, model: PreTrainedModel, texts: list[str]) -> dict[str, list[tuple[str, str]]]:
    """(answer, verdict) for each text, by the way it was sampled."""
    prompts = [prompt_of(text, text, run.tokenizer) for text in texts]
    require_room(prompts, run.settings.max_length)
    found = {}
    for way, constrained in (("free", False), ("constrained", True)):
        answers = sample(run, model, prompts, constrained=constrained, title=f"sampling {way}")
        spelled = run.tokenizer.batch_decode(answers, skip_special_tokens=True)
        found[way] = list(zip(spelled, judge(answers, run.con), strict=True))
    return found


def main(
    run: RunFolder,
    text: Annotated[list[str], typer.Argument(help="sentences")],
    name: Annotated[str, typer.Option(help="a model of the run, or any other by name or path")] = "student",
) -> None:
    """Sample a model's answers to your own sentences, free and constrained next to each other."""
    opened = open_run(run)
    found = generate(opened, opened.load(name), text)
    table = Table("sentence", *found, show_lines=True)
    for i, sentence in enumerate(text):
        cells = (found[way][i] for way in found)
        table.add_row(
            escape(sentence), *(f"[{STYLES[verdict]}]{verdict}[/]\n{escape(answer)}" for answer, verdict in cells)
        )
    Console().print(table)


if __name__ == "__main__":
    program(main)
