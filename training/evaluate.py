"""What a model is worth, on sentences from documents that it never saw: its scores, and its samples' verdicts."""

from collections import Counter
from typing import Annotated

import typer
from transformers import PreTrainedModel

from training.errors import TrainingError
from training.program import RunFolder, Samples, program
from training.report import report
from training.run import Run, open_run, write_json
from training.sampling import VERDICTS, judge, sample
from training.score import score

SAMPLES = 96


def evaluate(run: Run, name: str, model: PreTrainedModel, *, samples: int = SAMPLES) -> None:
    """Adds `scores` and `samples` to what the run knows of `name`, and keeps the sampled texts."""
    model.eval()
    chosen = run.some_heldout(samples)
    shares, texts = {}, []
    for way, constrained in (("free", False), ("constrained", True)):
        answers = sample(run, model, chosen, constrained=constrained, title=f"{name}, sampling {way}")
        verdicts = judge(answers, run.con)
        counts = Counter(verdicts)
        shares[way] = {verdict: counts[verdict] / len(verdicts) for verdict in VERDICTS}
        texts += [
            {"sentence": example.name, "way": way, "verdict": verdict, "answer": text}
            for example, verdict, text in zip(
                chosen, verdicts, run.tokenizer.batch_decode(answers, skip_special_tokens=True), strict=True
            )
        ]
    write_json(run.folder / f"samples-{name}.json", texts)
    run.record(name, scores=score(model, run.heldout, run.con), samples=shares, samples_each=len(chosen))


def main(
    run: RunFolder,
    name: Annotated[list[str] | None, typer.Option(help="a model in RUN; several may be given; default: all")] = None,
    samples: Samples = SAMPLES,
) -> None:
    """Score models of RUN on the held-out documents, sample from them, and write the report anew."""
    opened = open_run(run)
    names = name or list(opened.numbers()["models"])
    if not names:
        raise TrainingError(f"{run} holds no models yet: begin with python -m training.teacher {run}")
    for each in names:
        evaluate(opened, each, opened.load(each), samples=samples)
    report(run)


if __name__ == "__main__":
    program(main)
