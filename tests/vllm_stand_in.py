"""A stand-in for the parts of vLLM that `fastmask.vllm` touches, where vLLM is not installed.

Written after vLLM 0.33.0 (Apache-2.0): `vllm/v1/sample/logits_processor/interface.py` and
`vllm/v1/worker/gpu/sample/logits_processor/interface.py`. Names, fields and orders are theirs; nothing else is. That
the adapters agree with it says that they follow the interface as written down, not that they ran inside vLLM.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

V1 = "vllm.v1.sample.logits_processor"
V2 = "vllm.v1.worker.gpu.sample.logits_processor"


class MoveDirectionality(Enum):
    UNIDIRECTIONAL = auto()  # i1 -> i2 within the batch
    SWAP = auto()  # i1 <-> i2


@dataclass(frozen=True)
class BatchUpdate:
    batch_size: int
    removed: Sequence[int]
    added: Sequence[tuple[int, Any, list[int] | None, list[int]]]
    moved: Sequence[tuple[int, int, MoveDirectionality]]


class LogitsProcessorV1(ABC):
    @classmethod
    def validate_params(cls, sampling_params):
        return None

    @abstractmethod
    def __init__(self, vllm_config, device, is_pin_memory): ...

    @abstractmethod
    def apply(self, logits): ...

    @abstractmethod
    def is_argmax_invariant(self): ...

    @abstractmethod
    def update_state(self, batch_update): ...


@dataclass(frozen=True)
class LogitsProcRequestState:
    device: Any
    max_num_reqs: int
    vocab_size: int
    all_token_ids: Any
    prompt_len: Any
    prefill_len: Any
    total_len: Any


@dataclass(frozen=True)
class LogitsContext:
    expanded_idx_mapping: Any
    idx_mapping: Any
    idx_mapping_np: Any
    expanded_local_pos: Any
    input_ids: Any
    pos: Any
    seq_lens_upper_bound_np: Any


class LogitsProcessorV2(ABC):
    @classmethod
    def validate_params(cls, sampling_params):
        return None

    def add_request(self, req_idx, sampling_params):
        return True

    def apply_staged_writes(self):
        return None

    @abstractmethod
    def apply(self, logits, ctx): ...


def install(monkeypatch) -> None:
    """Make `import vllm…` find the above; vLLM's own classes are used where it is installed."""
    if find_spec("vllm") is not None:
        return
    contents = {
        V1: {
            "BatchUpdate": BatchUpdate,
            "MoveDirectionality": MoveDirectionality,
            "LogitsProcessor": LogitsProcessorV1,
        },
        V2: {
            "LogitsContext": LogitsContext,
            "LogitsProcRequestState": LogitsProcRequestState,
            "LogitsProcessor": LogitsProcessorV2,
        },
        "vllm.tokenizers": {"cached_tokenizer_from_config": None},
    }
    for name in list(contents):
        for parent in (name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)):
            contents.setdefault(parent, {})
    for name, members in contents.items():
        module = ModuleType(name)
        vars(module).update(members)
        module.__path__ = []  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)


def config(vocab_size: int, **changes: Any) -> SimpleNamespace:
    """As much of a `VllmConfig` as is read."""
    model = SimpleNamespace(get_vocab_size=lambda: vocab_size, try_get_generation_config=dict)
    parallel = SimpleNamespace(enable_batch_sharded_sampling=False)
    return SimpleNamespace(**{"model_config": model, "parallel_config": parallel, "speculative_config": None} | changes)


def params(wish: Any = None) -> SimpleNamespace:
    """As much of `SamplingParams` as is read."""
    return SimpleNamespace(extra_args=None if wish is None else {"fastmask": wish})
