"""Masks and constrained losses on torch tensors.

Throughout: ``logits`` [..., V'] with V' at least the constraint's vocabulary, ``states`` integers [...], one for
each row of logits. Columns beyond the vocabulary are never allowed. ``con`` is a constraint, or its ``on(device)``,
which looks the masks up on the logits' device.
"""

from fastmask.extras import naming_extras

with naming_extras():
    from fastmask.torch.counts import allowed_counts
    from fastmask.torch.distillation import distillation_losses
    from fastmask.torch.divergence import constrained_kl
    from fastmask.torch.linear import linear_constrained_kl
    from fastmask.torch.masks import constrained_log_probs, mask_logits, penalize
    from fastmask.torch.mass import invalid_mass
    from fastmask.torch.output_head import OutputHead
    from fastmask.torch.sparse import SparseTeacher, sparse_constrained_kl, sparse_teacher

__all__ = [
    "OutputHead",
    "SparseTeacher",
    "allowed_counts",
    "constrained_kl",
    "constrained_log_probs",
    "distillation_losses",
    "invalid_mass",
    "linear_constrained_kl",
    "mask_logits",
    "penalize",
    "sparse_constrained_kl",
    "sparse_teacher",
]
