"""What a model costs: its size, its speed, its memory. That a student costs less is the point of distilling."""

import time
import weakref
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import GenerationConfig, PreTrainedModel

from training.run import Run
from training.sampling.answers import padded_prompts, without_habits

PROMPTS = 16
NEW_TOKENS = 64  # behind each prompt, or as many as there is room for
REPEATS = 3
WEIGHTS = ("*.safetensors", "*.bin")


def cost(run: Run, name: str, model: PreTrainedModel) -> dict:
    """Size, speed and memory of a model.

    parameters. bytes_on_disk: of the weights, absent of a model that lies in no folder here. tokens_per_second: greedy,
    all prompts together, the fastest of the repeats, since what else the machine does can only slow it. peak_memory:
    the most bytes that tensors held at once, the weights among them.
    """
    prompts, mask = padded_prompts(run.some_heldout(PROMPTS), run.tokenizer.eos_token_id)
    count = min(NEW_TOKENS, run.settings.max_length - prompts.shape[1])
    config = GenerationConfig(
        do_sample=False, min_new_tokens=count, max_new_tokens=count,
        eos_token_id=run.tokenizer.eos_token_id, pad_token_id=run.tokenizer.eos_token_id,
    )  # fmt: skip

    def write() -> None:
        with without_habits(model):
            model.generate(
                prompts.to(model.device), attention_mask=mask.to(model.device), generation_config=config
            ).cpu()  # waits for a GPU

    memory = peak_memory(model, write)
    tokens = len(prompts) * count
    found = {
        "parameters": model.num_parameters(),
        "tokens_per_second": tokens / min(_seconds(write) for _ in range(REPEATS)),
        "peak_memory": memory,
        "measured": {
            "device": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else model.device.type,
            "dtype": str(model.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "prompts": len(prompts),
            "new_tokens": count,
        },
    }
    if (folder := Path(run.source(name))).is_dir():
        found["bytes_on_disk"] = sum(file.stat().st_size for kind in WEIGHTS for file in folder.glob(kind))
    return found


def peak_memory(model: PreTrainedModel, write: Callable[[], None]) -> int:
    """The most bytes that tensors hold at once while `write` runs: weights, activations and cache.

    Of this model alone: a process also holds its libraries, and often a second model.
    """
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
        others = torch.cuda.memory_allocated(model.device) - model.get_memory_footprint()
        write()
        return torch.cuda.max_memory_allocated(model.device) - others
    with LiveTensors() as live:
        for weight in [*model.parameters(), *model.buffers()]:
            live.meet(weight)
        write()
    return live.peak


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, each storage once, for as long as it lives."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._known: set[int] = set()

    def meet(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if address in self._known or not size:
            return
        self._known.add(address)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self._now -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self.meet(leaf)
        return made


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
