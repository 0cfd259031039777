"""The processes of a training: one on a laptop, one for each GPU under `accelerate launch` or `torchrun`."""

from collections.abc import Callable
from datetime import timedelta

import torch
from accelerate import Accelerator, PartialState

# The others wait for as long as one asks a teacher for its answers, and torch's own patience ends after ten minutes.
PATIENCE = timedelta(days=1)


def processes() -> PartialState:
    """This process among them: `process_index` of `num_processes`, `is_main_process`, `device`."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def new_accelerator() -> Accelerator:
    """In the precision that `accelerate launch --mixed_precision` asks for."""
    return Accelerator(cpu=not torch.cuda.is_available())


def on_main_process(action: Callable[[], object]) -> None:
    """For what is done once, such as writing to the run's folder; the others wait."""
    if processes().is_main_process:
        action()
    processes().wait_for_everyone()
