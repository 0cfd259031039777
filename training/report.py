"""What a run found, for people: a table on the terminal and in Markdown, and one picture."""

from pathlib import Path
from typing import Annotated

import matplotlib
import typer
from rich.console import Console
from rich.table import Table

from training.errors import TrainingError
from training.prepare import read_json
from training.program import program

matplotlib.use("Agg")  # a file is wanted, not a window
import matplotlib.pyplot as plt  # noqa: E402

COLUMNS = ["model", "loss", "disallowed mass", "tags right", "sampled freely", "sampled under the constraint"]
COLOURS = {"valid": "#3a923a", "invalid": "#c03d3e", "cut off": "#d9d9d9"}


def report(folder: Path) -> None:
    """Reads `numbers.json`, writes `table.md` and `curves.png`, prints the table and where things are."""
    numbers = read_json(folder / "numbers.json")
    models = [model for model in numbers["models"].values() if "scores" in model]
    if not models:
        raise TrainingError(f"{folder} holds no evaluated model: python -m training.evaluate {folder}")
    rows = [row_of(model) for model in models]
    notes = [
        f"samples: shares valid / invalid / cut off, of {models[0]['samples_each']} at temperature 1",
        *effect_of_penalty(models),
    ]
    (folder / "table.md").write_text("\n".join([*markdown(rows), "", *notes]) + "\n", encoding="utf-8")
    plot(models, folder / "curves.png")

    console = Console()
    table = Table(*COLUMNS, title="On held-out documents")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in notes:
        console.print(note)
    console.print(f"table.md, numbers.json, curves.png, the samples and the models are in {folder}")


def row_of(model: dict) -> list[str]:
    scores, samples = model["scores"], model["samples"]
    return [
        model["title"],
        f"{scores['loss']:.3f}",
        f"{scores['invalid_mass']:.2%}",
        f"{scores['tag_accuracy']:.1%}",
        *(" / ".join(f"{share:.0%}" for share in samples[way].values()) for way in ("free", "constrained")),
    ]


def markdown(rows: list[list[str]]) -> list[str]:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def effect_of_penalty(models: list[dict]) -> list[str]:
    """One sentence for each penalised student, compared with the plain one at equal steps."""
    distilled = [m for m in models if "penalty" in m]
    plain = next((m for m in distilled if m["penalty"] == "0"), None)
    return [
        f"{m['title']}: {plain['scores']['invalid_mass'] / m['scores']['invalid_mass']:.1f} times less mass on "
        f"disallowed tokens than plain distillation, after {m['history'][-1]['step']} steps each"
        for m in distilled
        if plain and m is not plain and m["history"][-1]["step"] == plain["history"][-1]["step"]
    ]


def plot(models: list[dict], path: Path) -> None:
    figure, (loss, mass, bars) = plt.subplots(1, 3, figsize=(16, 4.5), layout="constrained")
    for model in models:
        steps = [look["step"] for look in model["history"]]
        loss.plot(steps, [look["loss"] for look in model["history"]], label=model["title"])
        mass.plot(steps, [look["invalid_mass"] for look in model["history"]], label=model["title"])
    loss.set(title="Cross-entropy of held-out answers", xlabel="step", ylabel="nats a token", yscale="log")
    mass.set(title="Mass on disallowed tokens", xlabel="step", yscale="log")
    loss.legend()
    names = [f"{model['title']}\n{way}" for model in models for way in model["samples"]]
    shares = [model["samples"][way] for model in models for way in model["samples"]]
    left = [0.0] * len(shares)
    for verdict, colour in COLOURS.items():
        widths = [share[verdict] for share in shares]
        bars.barh(names, widths, left=left, color=colour, label=verdict)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    bars.invert_yaxis()
    bars.set(title="Answers sampled at temperature 1", xlabel="share", xlim=(0, 1))
    bars.legend(loc="lower right")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(run: Annotated[Path, typer.Argument(help="a folder with evaluated models")]) -> None:
    """Write table and picture of RUN anew."""
    report(run)


if __name__ == "__main__":
    program(main)
