"""What a model is worth, on documents that it never saw: its scores, what it writes, and what it costs."""

from collections import Counter
from typing import Annotated

import typer
from transformers import PreTrainedModel

from fastmask.canonical import spelling
from training.data.examples import Example
from training.errors import TrainingError
from training.evaluation.cost import cost
from training.evaluation.score import score_closely
from training.evaluation.tagging import copying, read_gold, tags_of_copies
from training.evaluation.uncertainty import wilson
from training.program import RunFolder, Samples, program
from training.report import report
from training.run import Run, open_run, write_json
from training.sampling.answers import CONTEXT, VERDICTS, WAYS, Answer, sample

SAMPLES = 96


def evaluate(run: Run, name: str, model: PreTrainedModel, *, samples: int = SAMPLES) -> None:
    """Adds to what the run knows of `name`, and keeps the texts that it wrote.

    scores and cost: see `training.evaluation`. samples: the share of each verdict, by the way of decoding; intervals:
    theirs. words, by the way, and tags_of_copies, of constrained greedy answers: see `training.evaluation.tagging`;
    absent for other tasks than tagging.
    """
    model.eval()
    chosen = run.some_heldout(samples)
    answers = {way: sample(run, model, chosen, way, title=name) for way in WAYS}
    write_json(
        run.folder / f"samples-{name}.json",
        [kept(example, way, answer) for way in WAYS for example, answer in zip(chosen, answers[way], strict=True)],
    )
    shares = {way: verdict_shares(answers[way]) for way in WAYS}
    facts = {
        "scores": score_closely(model, run.heldout, run.con),
        "samples": shares,
        "samples_each": len(chosen),
        "intervals": {
            way: {verdict: wilson(share, len(chosen)) for verdict, share in shares[way].items()} for way in WAYS
        },
        "cost": cost(run, name, model),
    }
    gold = read_gold([spelling(example.answer, run.vocab) for example in chosen])
    if gold is not None:
        facts["words"] = {way: copying(answers[way], gold) for way in WAYS}
        facts["tags_of_copies"] = tags_of_copies(answers["constrained, greedy"], gold)
    run.record(name, **facts)


def verdict_shares(answers: list[Answer]) -> dict[str, float]:
    counts = Counter(answer.verdict for answer in answers)
    return {verdict: counts[verdict] / len(answers) for verdict in VERDICTS}


def kept(example: Example, way: str, answer: Answer) -> dict:
    """A row of `samples-*.json`; `broke` tells where, as `Slip` does, and the end of what stands before it."""
    row = {"sentence": example.name, "way": way, "verdict": answer.verdict, "answer": answer.text}
    if answer.slip:
        before = answer.kept.decode(errors="replace")[-CONTEXT:]
        token = answer.slip.token.decode(errors="replace")
        row["broke"] = {**vars(answer.slip), "before": before, "token": token}
    return row


def main(
    run: RunFolder,
    name: Annotated[list[str] | None, typer.Option(help="a model in RUN; several may be given; default: all")] = None,
    samples: Samples = SAMPLES,
) -> None:
    """Score models of RUN on the held-out documents, let them write, measure them, and write the report anew."""
    opened = open_run(run)
    names = name or list(opened.numbers()["models"])
    if not names:
        raise TrainingError(f"{run} holds no models yet: begin with python -m training.teacher {run}")
    for each in names:
        evaluate(opened, each, opened.load(each), samples=samples)
    report(run)


if __name__ == "__main__":
    program(main)
