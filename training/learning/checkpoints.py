"""Checkpoints of a training in progress: whole or not there, and of this configuration or refused.

A checkpoint is a folder `RUN/NAME.checkpoint/STEP`: accelerate's state of weights (safetensors), optimiser, schedule,
progress and random generators, where the streams of each process stand, and the configuration. It is written under
another name and renamed when all of it is there, so a training may be killed at any moment.
"""

import logging
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator

from fastmask.differences import differences
from training.errors import TrainingError
from training.learning.processes import processes
from training.learning.streams import Stream
from training.run import read_json, write_json

CONFIGURATION = "configuration.json"

# accelerate warns with every checkpoint that a tensor under two names is written once, as it should be.
logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)


class Checkpoints:
    """Those of one training, of which only the newest is kept."""

    def __init__(self, folder: Path, configuration: dict, *, every: int) -> None:
        self.folder, self.configuration, self.every = folder, configuration, every

    def due(self, step: int) -> bool:
        return step % self.every == 0

    def newest(self) -> Path | None:
        whole = [path for path in self.folder.glob("*") if path.name.isdigit()]
        return max(whole, key=lambda path: int(path.name), default=None)

    def save(self, step: int, accelerator: Accelerator, streams: list[Stream]) -> None:
        whole, part = self.folder / str(step), self.folder / f"{step}.part"
        accelerator.save_state(str(part))
        torch.save([stream.state_dict() for stream in streams], part / _streams_of_this_process())
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            write_json(part / CONFIGURATION, self.configuration)
            part.replace(whole)
            for other in self.folder.iterdir():
                if other != whole:
                    shutil.rmtree(other)
        accelerator.wait_for_everyone()

    def restore(self, accelerator: Accelerator, streams: list[Stream]) -> None:
        """Puts everything back to where the newest checkpoint was written, if there is one.

        Raises:
            TrainingError: it is of another configuration, or damaged.
        """
        newest = self.newest()
        if newest is None:
            return
        if changes := differences(_configuration(newest), self.configuration):
            raise TrainingError(
                f"{self.folder} holds step {newest.name} of another training: {'; '.join(changes)}. Give the options of"
                " then to go on with it, another name to keep both, or --restart to throw it away and begin anew"
            )
        try:
            accelerator.load_state(str(newest))
            states = torch.load(newest / _streams_of_this_process(), weights_only=True)
        except Exception as error:  # each of the libraries that read a part of it has its own, with advice of its own
            raise TrainingError(
                f"{newest} cannot be read: {type(error).__name__}. If it is damaged, --restart begins anew"
            ) from error
        for stream, state in zip(streams, states, strict=True):
            stream.load_state_dict(state)

    def remove(self) -> None:
        """A kill in the middle leaves no checkpoint that looks whole."""
        while newest := self.newest():
            shutil.rmtree(newest.replace(newest.with_suffix(".part")))
        shutil.rmtree(self.folder, ignore_errors=True)


def _configuration(checkpoint: Path) -> dict:
    try:
        return read_json(checkpoint / CONFIGURATION)
    except ValueError as error:
        raise TrainingError(f"{checkpoint / CONFIGURATION} is damaged: {error}; --restart begins anew") from error


def _streams_of_this_process() -> str:
    return f"streams_{processes().process_index}.pt"
