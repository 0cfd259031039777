"""The processes of a training: one on a laptop, one for each GPU under `accelerate launch` or `torchrun`."""

import torch
from accelerate import PartialState


def processes() -> PartialState:
    """This process among them: `process_index` of `num_processes`, `is_main_process`, `device`."""
    return PartialState(cpu=not torch.cuda.is_available())
