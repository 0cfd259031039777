"""Labelling: a teacher answers sentences under the constraint, and its answers become something to learn from.

Sequence-level distillation needs no logits, so answers may as well come from elsewhere: a large model behind an API, or
people. Either way they are rows `{"input": …, "answer": …}` of a JSONL file, of which `training.finetune --answers`
learns those that the schema accepts.
"""

import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import print
from tqdm import tqdm
from transformers import PreTrainedModel

from fastmask.canonical import spelling
from training.data.examples import Example, prompt_of, require_room
from training.data.records import read_jsonl, read_rows, read_text
from training.data.sift import sift
from training.distillation.instruction import Instruction, instruction_of
from training.errors import TrainingError
from training.learning.model_digest import model_digest
from training.learning.models import context_length
from training.learning.streams import fingerprint
from training.program import Chat, DeviceMap, Dtype, Prompt, RunFolder, program
from training.run import Run, open_run
from training.sampling.answers import PROMPTS_AT_ONCE, continue_prompts, judge


def label(
    run: Run,
    teacher: PreTrainedModel,
    texts: list[str],
    out: Path,
    *,
    greedy: bool = False,
    instruction: Instruction | None = None,
) -> Counter:
    """Writes a row for each text, in their order, and returns how many have which verdict.

    A run that was killed goes on where its file ends, and gives the same rows: each batch has a seed of its own.

    Raises:
        TrainingError: no text, or one that leaves no room for an answer; a file of answers to other texts, or of
            another labelling.
    """
    prompts = teacher_prompts(run, texts, instruction)
    if not prompts:
        raise TrainingError("there is no text to answer")
    max_length = run.settings.max_length
    if instruction:  # which takes nothing from the answer's share
        max_length += max(prompt.start for prompt in prompts)
    max_length = min(max_length, context_length(teacher.config) or max_length)
    require_room(prompts, max_length, run.con)
    by = labelling(run, teacher, prompts, greedy=greedy)
    done = _whole_batches(out, texts, by)
    teacher.eval()
    with out.open("a", encoding="utf-8") as file:
        for begin in tqdm(range(done, len(texts), PROMPTS_AT_ONCE), desc="labelling", unit="batch", dynamic_ncols=True):
            torch.manual_seed(run.settings.seed + begin)
            batch = prompts[begin : begin + PROMPTS_AT_ONCE]
            answers = continue_prompts(teacher, batch, run.tokenizer.eos_token_id, max_length, run.con, greedy=greedy)
            for prompt, answer, verdict in zip(batch, answers, judge(answers, run.con), strict=True):
                text = spelling(answer, run.vocab).decode(errors="replace")
                row = {"input": prompt.name, "answer": text, "verdict": verdict, "by": by}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
    return Counter(row["verdict"] for _, row in read_rows(out))


def teacher_prompts(run: Run, texts: list[str], instruction: Instruction | None) -> list[Example]:
    """What the teacher reads of each text: the text as the student does, or the instruction filled with it."""
    prompts = [prompt_of(text, text, run.tokenizer) for text in texts]
    return [instruction.as_read(prompt) for prompt in prompts] if instruction else prompts


def labelling(run: Run, teacher: PreTrainedModel, prompts: list[Example], *, greedy: bool = False) -> str:
    """A digest of all that the rows depend on."""
    settings = run.con.fingerprint, run.settings.seed, run.settings.max_length
    return fingerprint(prompts, model_digest(teacher), *settings, greedy)


def read_answers(run: Run, path: Path) -> list[Example]:
    """The rows of a JSONL file that the schema accepts and the run's models can read; what is left out is counted.

    Raises:
        TrainingError: a row that is no `{"input": …, "answer": …}`, with its line; none that can be learnt from.
    """
    sifted = sift(read_jsonl([path]), run.tokenizer, run.con, run.settings.max_length)
    good = [found for found in sifted if isinstance(found, Example)]
    left_out = Counter(found.reason for found in sifted if not isinstance(found, Example))
    said = ", ".join(f"{count:,} {why}" for why, count in left_out.items())
    print(f"{len(good):,} answers to learn from" + (f"; left out: {said}" if said else ""))
    if not good:
        raise TrainingError(f"{path} holds no answer to learn from: {said or 'it is empty'}")
    return good


def _whole_batches(out: Path, texts: list[str], by: str) -> int:
    """Rows that an earlier run wrote, in whole batches; what stands behind them is cut off.

    A whole file is left alone, for several processes may be reading it.
    """
    if not out.exists():
        return 0
    whole = out.read_bytes().split(b"\n")[:-1]  # a text may hold what Python would take for the end of a line
    rows = [_row(line) for line in whole]
    if len(rows) > len(texts):
        raise TrainingError(
            f"{out} holds {len(rows):,} answers, there are {len(texts):,} sentences: give another --out"
        )
    if any(row.get("input") != text for text, row in zip(texts, rows, strict=False)):
        raise TrainingError(f"{out} holds answers to other sentences: give another --out, or delete it")
    if any(row.get("by") != by for row in rows):
        raise TrainingError(
            f"{out} holds answers of another teacher, prompt, schema or seed, or chosen in another way: give another"
            " --out, or delete it"
        )
    kept = len(rows) if len(rows) == len(texts) else len(rows) // PROMPTS_AT_ONCE * PROMPTS_AT_ONCE
    end = sum(len(line) + 1 for line in whole[:kept])
    if end < out.stat().st_size:
        os.truncate(out, end)
    return kept


def _row(line: bytes) -> dict:
    with suppress(ValueError):  # no JSON
        row = json.loads(line)
        return row if isinstance(row, dict) else {}
    return {}


def main(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="the JSONL file that is written, or gone on with")],
    teacher: Annotated[str, typer.Option(help="a model of the run, or any other by name or path")] = "teacher",
    dtype: Dtype = "auto",
    device_map: DeviceMap = None,
    inputs: Annotated[
        Path | None, typer.Option(help="a text file, a sentence a line; default: those of the run")
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="the likeliest token each time, in place of a sample")
    ] = False,
    prompt: Prompt = None,
    chat: Chat = False,
) -> None:
    """Let a teacher answer sentences under the constraint."""
    opened = open_run(run)
    instruction = instruction_of(opened, prompt, chat=chat)
    # Not splitlines: a text may hold what Python would take for the end of a line.
    texts = read_text(inputs).split("\n") if inputs else [record.text for record in opened.records]
    texts = [text for text in texts if text.strip()]
    model = opened.load(teacher, dtype=dtype, device_map=device_map)
    verdicts = label(opened, model, texts, out, greedy=greedy, instruction=instruction)
    print(", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items()), f"in {out}")


if __name__ == "__main__":
    program(main)
