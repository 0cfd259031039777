"""Which model it was: what is kept of a model's answers must not be taken for another's."""

import hashlib
import json

import torch
from transformers import PreTrainedModel

# Of a configuration, what says where a model was and how it is kept, and nothing about what it computes.
PLACE = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}


def model_digest(model: PreTrainedModel) -> str:
    """sha256 (hex) of configuration and weights: the same for a model in memory, saved, and loaded again."""
    config = {key: value for key, value in model.config.to_dict().items() if key not in PLACE}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
