"""What a teacher says on the training examples, asked once and kept in files: training then never runs the teacher.

At every answer position the cache keeps k of the teacher's log-probabilities, allowed tokens first, and the mass of
all others (`fastmask.torch.sparse_teacher`). Where the schema allows at most k tokens, as in the structure of an answer
and in choices, that loses nothing at an infinite penalty. No penalty is in it: it serves every penalty and divergence,
at one temperature.

The folder holds `about.json`, all that the cache depends on, and shards of whole examples, each written under another
name first: what a killed run has left behind is good, and the next goes on behind it.
"""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

import fastmask.torch as fmt
from training.data.examples import Batch, Example, collate, groups_by_length
from training.distillation.instruction import Instruction
from training.errors import TrainingError
from training.learning.losses import answer_logits
from training.learning.model_digest import model_digest
from training.learning.processes import processes
from training.learning.streams import fingerprint
from training.run import TOKENS_PER_BATCH, read_json, write_json

TOP_K = 64
EXAMPLES_PER_SHARD = 512


class TeacherCache:
    """`cache[batch]` is the sparse teacher of the batch's N positions, read from the files."""

    def __init__(self, folder: Path, examples: list[Example], temperature: float) -> None:
        self.folder, self.temperature = folder, temperature
        self._files = []
        self._places: dict[str, tuple[int, slice]] = {}  # of an example: which file, and which rows of it
        for number, (path, shard) in enumerate(_shards(folder, examples)):
            self._files.append(safe_open(path, framework="pt"))
            ends = accumulate(len(example.answer) for example in shard)
            for example, end in zip(shard, ends, strict=True):
                self._places[fingerprint([example])] = number, slice(end - len(example.answer), end)

    def __getitem__(self, batch: Batch) -> fmt.SparseTeacher:
        parts = [self._rows(example) for example in batch.examples]
        tensors = {name: torch.cat([part[name] for part in parts]).to(batch.tokens.device) for name in parts[0]}
        return fmt.SparseTeacher(**tensors, temperature=self.temperature)

    def _rows(self, example: Example) -> dict[str, Tensor]:
        place = self._places.get(fingerprint([example]))
        if place is None:
            raise TrainingError(f"{self.folder} does not hold what the teacher says on example {example.name}")
        file, rows = self._files[place[0]], place[1]
        return {name: file.get_slice(name)[rows] for name in file.keys()}  # noqa: SIM118 (no dict)


def teacher_cache(
    folder: Path,
    teacher: PreTrainedModel,
    examples: list[Example],
    con,
    *,
    top_k: int = TOP_K,
    temperature: float = 1.0,
    instruction: Instruction | None = None,
) -> TeacherCache:
    """The cache in this folder, made as far as it is not there yet.

    Raises:
        TrainingError: the folder holds that of another teacher, constraint, and so on.
    """
    about = {
        "teacher": model_digest(teacher),
        "constraint": con.fingerprint,
        "examples": fingerprint(examples),
        "prompt": fingerprint(map(instruction.as_read, examples)) if instruction else None,
        "top_k": top_k,
        "temperature": temperature,
        "examples_per_shard": EXAMPLES_PER_SHARD,
    }
    with processes().main_process_first():
        folder.mkdir(parents=True, exist_ok=True)
        _require_about(folder / "about.json", about)
        for path, shard in tqdm(list(_shards(folder, examples)), desc="asking the teacher", dynamic_ncols=True):
            if not path.exists():
                part = path.with_suffix(".part")
                save_file(_ask(teacher, shard, con, top_k, temperature, instruction), part)
                part.replace(path)
    return TeacherCache(folder, examples, temperature)


def _shards(folder: Path, examples: list[Example]) -> Iterator[tuple[Path, list[Example]]]:
    for begin in range(0, len(examples), EXAMPLES_PER_SHARD):
        path = folder / f"{begin // EXAMPLES_PER_SHARD:05}.safetensors"
        yield path, examples[begin : begin + EXAMPLES_PER_SHARD]


@torch.no_grad()
def _ask(
    teacher: PreTrainedModel, shard: list[Example], con, top_k: int, temperature: float, instruction: Instruction | None
) -> dict[str, Tensor]:
    """Rows for all answer positions of the examples, in their order."""
    teacher.eval()
    found: dict[int, dict[str, Tensor]] = {}
    for group in groups_by_length(shard, TOKENS_PER_BATCH):
        batch = collate(group, con, teacher.device)
        logits = answer_logits(teacher, instruction.read(batch, teacher) if instruction else batch)
        sparse = fmt.sparse_teacher(logits, batch.answer_states, con, top_k, temperature).tensors()
        lengths = [len(example.answer) for example in group]
        for example, *rows in zip(group, *(x.cpu().split(lengths) for x in sparse.values()), strict=True):
            found[id(example)] = dict(zip(sparse, rows, strict=True))
    parts = [found[id(example)] for example in shard]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _require_about(path: Path, about: dict) -> None:
    """What the cache in this folder depends on; written down where there is none yet."""
    if not path.exists():
        write_json(path, about)
    elif (kept := read_json(path)) != about:
        others = ", ".join(name for name in about if kept.get(name) != about[name])
        raise TrainingError(
            f"{path.parent} was made with another {others}: give another --teacher-cache, or delete that folder"
        )
