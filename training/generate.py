"""Models of a run on sentences of your own: what they write freely, and what they write under the constraint."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedModel

from training.data.examples import prompt_of, require_room
from training.errors import TrainingError
from training.program import RunFolder, program
from training.run import Run, open_run
from training.sampling.answers import WAYS, Answer, sample

STYLES = {"valid": "green", "invalid": "red", "ended early": "red", "cut off": "yellow"}


def generate(
    run: Run,
    model: PreTrainedModel,
    texts: list[str],
    *,
    greedy: bool = False,
    seed: int | None = None,
    title: str = "sampling",
) -> dict[str, list[Answer]]:
    """An answer to each text, by the way it was written: two of `WAYS`, free and constrained."""
    model.eval()
    prompts = [prompt_of(text, text, run.tokenizer) for text in texts]
    require_room(prompts, run.settings.max_length, run.con)
    ways = [name for name, way in WAYS.items() if way.greedy == greedy]
    return {way: sample(run, model, prompts, way, title=title, seed=seed) for way in ways}


def seen(answer: Answer) -> Text:
    """An answer for the terminal: its verdict, and the token that broke it, with what could have stood there."""
    found = Text.assemble((answer.verdict, STYLES[answer.verdict]), "\n", answer.kept.decode(errors="replace"))
    if answer.slip is None:
        return found
    behind = answer.raw[answer.slip.byte + len(answer.slip.token) :]
    token = answer.slip.token.decode(errors="replace") or "⟨end⟩"
    found.append(token, "bold white on red")
    found.append(behind.decode(errors="replace"), "dim")
    return found.append(f"\nexpected {answer.slip.expected}", "italic")


def main(
    run: RunFolder,
    text: Annotated[list[str], typer.Argument(help="sentences")],
    name: Annotated[
        list[str] | None,
        typer.Option(help="a model of RUN, or any other by name or path; several may be given; default: all of RUN's"),
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="the likeliest token each time, in place of a sample")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="of the samples; default: the run's")] = None,
) -> None:
    """Let models answer your own sentences, free and constrained next to each other."""
    opened = open_run(run)
    names = name or list(opened.numbers()["models"])
    if not names:
        raise TrainingError(f"{run} holds no models yet: begin with python -m training.teacher {run}")
    found = {each: generate(opened, opened.load(each), text, greedy=greedy, seed=seed, title=each) for each in names}
    for i, sentence in enumerate(text):
        table = Table("model", title=Text(sentence, "bold"), title_justify="left", show_lines=True)
        for way in found[names[0]]:
            table.add_column(way, overflow="fold", ratio=1)  # JSON has no spaces to break a line at
        for each, ways in found.items():
            table.add_row(Text(each), *(seen(answers[i]) for answers in ways.values()))
        Console().print(table)


if __name__ == "__main__":
    program(main)
