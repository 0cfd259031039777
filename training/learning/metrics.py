"""What a training measures, as JSON lines: `RUN/NAME.metrics.jsonl`, a line for every step."""

import json
import os
from pathlib import Path


class Metrics:
    """Appends lines. Those behind `step` are taken back first, for the training is about to take these steps again."""

    def __init__(self, path: Path, step: int) -> None:
        path.touch()
        os.truncate(path, _end_of_step(path, step))
        self.file = path.open("a", encoding="utf-8", buffering=1)  # a line is written when it is whole

    def write(self, line: dict) -> None:
        self.file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        self.file.close()


def _end_of_step(path: Path, step: int) -> int:
    """How many bytes hold the lines up to this step."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:  # the last line may be half a line
                break
            end += len(line)
    return end
