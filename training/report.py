"""What a run found, for people: a table on the terminal and in Markdown, and one picture."""

from pathlib import Path

import matplotlib
from rich.console import Console
from rich.table import Table

from training.errors import TrainingError
from training.losses import Objective
from training.program import RunFolder, program
from training.run import read_json

matplotlib.use("Agg")  # a file is wanted, not a window
import matplotlib.pyplot as plt

COLUMNS = ["model", "loss", "mass on disallowed", "tags right", "sampled: free", "constrained"]
SAMPLED = ("free", "constrained")
COLOURS = {"valid": "#3a923a", "invalid": "#c03d3e", "ended early": "#e6a03c", "cut off": "#d9d9d9"}


def report(folder: Path) -> None:
    """Reads `numbers.json`, writes `table.md` and `curves.png`, prints the table and where things are."""
    known = read_json(folder / "numbers.json")["models"]
    models = [model for model in known.values() if "scores" in model]
    if not models:
        raise TrainingError(f"{folder} holds no evaluated model: python -m training.evaluate {folder}")
    rows = [row_of(model) for model in models]
    notes = [
        "loss: cross-entropy of the held-out answers, nats a token; sampled at temperature 1: "
        f"% valid / invalid / cut off, of {models[0]['samples_each']}",
        *effect_of_penalty(models),
    ]
    (folder / "table.md").write_text("\n\n".join([markdown(rows), *notes]) + "\n", encoding="utf-8")
    plot(models, {name: model["history"][-1]["step"] for name, model in known.items() if model["history"]}, folder)

    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    where = f"table.md, numbers.json, curves.png, samples and models are in {folder}"
    console.print(*notes, where, sep="\n", markup=False)


def row_of(model: dict) -> list[str]:
    scores, samples = model["scores"], model["samples"]
    return [
        model["title"],
        f"{scores['loss']:.3f}",
        f"{scores['invalid_mass']:.2%}",
        f"{scores['tag_accuracy']:.1%}",
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


def plot(models: list[dict], steps_of: dict[str, int], folder: Path) -> None:
    """Learning curves, mass on disallowed tokens, and what became of the samples."""
    figure, (loss, mass, bars) = plt.subplots(1, 3, figsize=(16, 4.5), layout="constrained")
    for model in models:
        before = steps_of.get(model.get("start"), 0)  # a fine-tuned model goes on where another one stopped
        steps = [before + look["step"] for look in model["history"]]
        loss.plot(steps, [look["loss"] for look in model["history"]], label=model["title"])
        mass.plot(steps, [look["invalid_mass"] for look in model["history"]], label=model["title"])
    loss.set(title="Cross-entropy of held-out answers", xlabel="step", ylabel="nats a token", yscale="log")
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter("{x:g}")
    loss.legend()
    mass.set(title="Mass on disallowed tokens", xlabel="step", yscale="log")
    mass.yaxis.set_major_formatter("{x:.1%}")

    names = [f"{model['title']}\n{way}" for model in models for way in SAMPLED]
    shares = [model["samples"][way] for model in models for way in SAMPLED]
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


def main(run: RunFolder) -> None:
    """Write table and picture of RUN anew."""
    report(run)


if __name__ == "__main__":
    program(main)
