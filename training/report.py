"""What runs found, for people: of one a table on the terminal and in Markdown and a picture, of any number a page."""

from pathlib import Path
from typing import Annotated

import matplotlib
import typer
from rich import print
from rich.console import Console
from rich.table import Table

from training.errors import TrainingError
from training.learning.losses import Objective
from training.program import program
from training.reporting.arms import Model, common_folder, evaluated_models
from training.reporting.page import write_page
from training.run import read_numbers

matplotlib.use("Agg")  # a file is wanted, not a window
import matplotlib.pyplot as plt

COLUMNS = ["model", "loss", "mass on disallowed", "tags right", "sampled: free", "constrained"]
FAILURES = 8
SAMPLED = ("free", "constrained")
COLOURS = {"valid": "#0072b2", "invalid": "#b34700", "ended early": "#a85a8c", "cut off": "#e69f00"}


def report(folder: Path) -> None:
    """Reads `numbers.json`, writes `table.md` and `curves.png`, prints the table and where things are."""
    evaluated = evaluated_models(folder, read_numbers(folder))
    if not evaluated:
        raise TrainingError(f"{folder} holds no evaluated model: python -m training.evaluate {folder}")
    models = [model.facts for model in evaluated]
    rows = [row_of(model) for model in models]
    notes = [
        "loss: cross-entropy of the held-out answers, nats a token; sampled at temperature 1: "
        f"% valid / invalid / cut off, of {models[0]['samples_each']}",
        *effect_of_penalty(models),
    ]
    (folder / "table.md").write_text("\n\n".join([markdown(rows), *notes]) + "\n", encoding="utf-8")
    plot(evaluated, folder)

    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    where = f"table.md, numbers.json, curves.png, samples and models are in {folder}"
    more = f"python -m training.report {folder} tells more, on a page"
    console.print(*notes, where, more, sep="\n", markup=False)


def row_of(model: dict) -> list[str]:
    scores, samples = model["scores"], model["samples"]
    return [
        model["title"],
        f"{scores['loss']:.3f}",
        f"{scores['invalid_mass']:.2%}",
        f"{scores['tag_accuracy']:.1%}" if "tag_accuracy" in scores else "–",
        *(" / ".join(f"{share * 100:.0f}" for share in in_three(samples[way])) for way in SAMPLED),
    ]


def in_three(shares: dict[str, float]) -> tuple[float, float, float]:
    """valid, invalid, cut off: an end too early is invalid here, for the table is narrow."""
    return shares["valid"], shares["invalid"] + shares.get("ended early", 0.0), shares["cut off"]


def markdown(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [COLUMNS, ["---"] * len(COLUMNS), *rows])


def effect_of_penalty(models: list[dict]) -> list[str]:
    """One sentence for each student of another objective, compared with the plain one at equal steps."""
    distilled = [(model, model["history"][-1]["step"]) for model in models if "objective" in model]
    plain, plain_steps = next(
        (
            (model, steps)
            for model, steps in distilled
            if Objective.from_json(model["objective"]) == Objective(penalty=0)
        ),
        (None, None),
    )
    return [
        f"{model['title']}: {plain['scores']['invalid_mass'] / model['scores']['invalid_mass']:.1f} times less mass "
        f"on disallowed tokens than plain distillation, after {steps} steps each"
        for model, steps in distilled
        if model is not plain and steps == plain_steps
    ]


def plot(models: list[Model], folder: Path) -> None:
    """Learning curves, mass on disallowed tokens, and what became of the samples."""
    figure, (loss, mass, bars) = plt.subplots(1, 3, figsize=(16, 4.5), layout="constrained")
    for model in models:
        steps = [look["step"] for look in model.curve]
        loss.plot(steps, [look["loss"] for look in model.curve], label=model.title)
        mass.plot(steps, [look["invalid_mass"] for look in model.curve], label=model.title)
    loss.set(title="Cross-entropy of held-out answers", xlabel="step", ylabel="nats a token", yscale="log")
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter("{x:g}")
    loss.legend()
    mass.set(title="Mass on disallowed tokens", xlabel="step", yscale="log")
    mass.yaxis.set_major_formatter("{x:.1%}")

    names = [f"{model.title}\n{way}" for model in models for way in SAMPLED]
    shares = [model.facts["samples"][way] for model in models for way in SAMPLED]
    left = [0.0] * len(shares)
    for verdict, colour in COLOURS.items():
        widths = [share.get(verdict, 0.0) for share in shares]
        bars.barh(names, widths, left=left, color=colour, label=verdict)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    bars.invert_yaxis()
    bars.set(title="Answers sampled at temperature 1", xlim=(0, 1))
    bars.xaxis.set_major_formatter("{x:.0%}")
    bars.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=len(COLOURS), frameon=False)
    figure.savefig(folder / "curves.png", dpi=120)
    plt.close(figure)


def main(
    runs: Annotated[list[Path], typer.Argument(help="folders begun by training.prepare", metavar="RUN...")],
    out: Annotated[
        Path | None, typer.Option(help="the page; default: report.html in RUN, or in the folder that holds all")
    ] = None,
    failures: Annotated[
        int, typer.Option(min=0, help="places where free answers broke, listed for each arm; 0: none")
    ] = FAILURES,
) -> None:
    """Write the page of one run or several, with its pictures beside it; of a single one table and picture anew."""
    if len(runs) == 1:
        report(runs[0])
    page = out or common_folder(runs) / "report.html"
    arms = write_page(runs, page, failures=failures)
    print(f"{len(arms)} arm(s) in {page}")


if __name__ == "__main__":
    program(main)
