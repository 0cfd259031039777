"""Distillation under a constraint by transformers' own ``Trainer``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainingArguments

from fastmask.constraint import Constraint
from fastmask.corpus.collate import IGNORED, ConstraintCollator
from fastmask.errors import InputError, InputTypeError
from fastmask.hf.distillation_inputs import (
    require_annotated,
    require_options_of,
    require_some_mass,
    require_widths,
)
from fastmask.hf.fitting import logit_width
from fastmask.torch.distillation import distillation_losses, require_share
from fastmask.torch.divergence import require_options
from fastmask.torch.inputs import require_penalty

__all__ = ["ConstrainedDistillationTrainer"]


class ConstrainedDistillationTrainer(Trainer):
    """A ``Trainer`` whose model learns what a constrained teacher would say at every position of the answers::

        con = fm.Constraint.from_schema(schema, vocabulary_for(student, tokenizer))
        columns = Columns(prompt="sentence", answer="json", between=(eos,), end=(eos,))
        rows = fastmask.corpus.annotate(dataset, con, columns, tokenizer)
        rows = rows.filter(lambda row: row["verdict"] == "complete")
        trainer = ConstrainedDistillationTrainer(
            student, TrainingArguments("runs/student"), teacher=teacher, constraint=con, train_dataset=rows
        )
        trainer.train()

    A position is one whose next token has a label: ``logits[b, t]`` goes with ``states[b, t]`` and
    ``labels[b, t + 1]``. Its loss is that of :func:`fastmask.torch.distillation_losses`. A step's loss is the mean over
    the positions of all its batches in all processes, the evaluation's that of the whole set: neither depends on batch
    sizes, accumulation, padding or the number of processes.

    Batches are those of :class:`fastmask.corpus.ConstraintCollator`, or of any collator that gives ``input_ids``,
    ``labels`` (int64 [B, T], -100 where there is none) and ``states`` (int [B, T]); what else it gives goes to both
    models. The columns ``states`` and ``start`` are kept, whatever ``remove_unused_columns`` says. Checkpoints,
    resuming, logging and everything else are ``Trainer``'s.

    Args:
        model: the student, a causal language model.
        args: as for ``Trainer``; ``label_smoothing_factor`` has no effect.
        data_collator: ``None``: ``ConstraintCollator(constraint)``.
        teacher: a causal language model with the student's tokenizer. It is put into eval mode and onto the
            student's device, unless it has a device map; it keeps its dtype, learns nothing and is never saved.
        constraint: of the states; its vocabulary no wider than the student's logits.
        penalty, temperature, reverse, mask_on, jensen_shannon, target_invalid_mass: as for
            :func:`fastmask.torch.constrained_kl`.
        cross_entropy: the share of the labels' own cross-entropy, at least 0 and below 1.
        options: all other arguments of ``Trainer``, by name.

    Raises:
        InputTypeError: a teacher that is no model (a name, for instance), a constraint that is none, or an option
            that there is not.
        InputError: a data set without rows, one without states, or with another constraint's, as its first row tells.
        InputError: an option out of range; a divergence that would be infinite; a student or a teacher whose logits
            are too narrow for the vocabulary, as those of another tokenizer's model may be.
        InputError: from ``train``, ``evaluate`` and ``predict``: batches without ``labels`` or ``states``; a whole
            step, or a whole set to evaluate, without any position; a step whose loss is not finite, before the weights
            are touched.

    Warns:
        VocabularyWarning: the student's logits are much wider than the constraint's vocabulary.
    """

    def __init__(
        self,
        model: PreTrainedModel | nn.Module | None = None,
        args: TrainingArguments | None = None,
        data_collator: Any = None,
        *,
        teacher: PreTrainedModel | nn.Module,
        constraint: Constraint,
        penalty: float = 10.0,
        temperature: float = 1.0,
        reverse: bool = False,
        mask_on: Literal["teacher", "student", "both", "none"] = "teacher",
        jensen_shannon: float | None = None,
        target_invalid_mass: float | None = None,
        cross_entropy: float = 0.0,
        **options: Any,
    ) -> None:
        if not isinstance(teacher, nn.Module):
            raise InputTypeError(f"teacher must be a model, got {type(teacher).__name__}: load it beforehand")
        if not isinstance(constraint, Constraint):
            raise InputTypeError(f"expected a fastmask.Constraint, got {type(constraint).__name__}")
        require_options(temperature, reverse, mask_on, jensen_shannon, target_invalid_mass)
        require_penalty(penalty, torch.Size())
        if jensen_shannon is None and mask_on == ("teacher" if reverse else "student"):
            require_some_mass(penalty, target_invalid_mass)
        require_share(cross_entropy)
        if options.get("compute_loss_func") is not None:
            raise InputError("compute_loss_func would never be called: the loss of this trainer is its divergence")
        require_options_of(type(self), options)
        super().__init__(model, args, data_collator or ConstraintCollator(constraint), **options)
        for name, dataset in _named_sets(self.train_dataset, self.eval_dataset):
            require_annotated(name, dataset, constraint, self.data_collator)
        require_widths(logit_width(self.model), logit_width(teacher), constraint.vocabulary, reverse)
        self.teacher = teacher.eval()
        if getattr(teacher, "hf_device_map", None) is None:
            teacher.to(self.args.device)
        self._losses_of = partial(
            distillation_losses,
            con=constraint,
            cross_entropy=cross_entropy,
            penalty=penalty,
            temperature=temperature,
            reverse=reverse,
            mask_on=mask_on,
            jensen_shannon=jensen_shannon,
            target_invalid_mass=target_invalid_mass,
        )
        self.model_accepts_loss_kwargs = True  # or losses were divided by the number of accumulated batches, too
        self._evaluated = (0.0, 0.0)  # sum of losses, number of positions
        self._step_loss: Tensor | float = 0.0  # of the batches of this step so far, in this process

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of one step in this process, and the number of positions of those in all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        here = torch.as_tensor(sum(_positions(batch).sum() for batch in batches), device=device)
        everywhere = self.accelerator.gather(here).sum()
        if batches and not everywhere:  # in all processes at once, so that none waits for one that has stopped
            raise InputError("a step has no answer position, nothing to learn from: no label is other than -100")
        self._step_loss = 0.0
        return batches, everywhere

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The batch's part of the step's loss, times the processes, over which gradients are averaged afterwards.

        Without ``num_items_in_batch``, the mean over the batch's own positions.
        """
        losses, _, outputs = self._losses(model, inputs)
        if num_items_in_batch is None:
            loss = losses.mean()
        else:
            loss = losses.sum() * self.accelerator.num_processes / num_items_in_batch
            self._require_finite(loss.detach(), model)
        return (loss, outputs) if return_outputs else loss

    def _require_finite(self, loss: Tensor, model: nn.Module) -> None:
        """Before the step's last backward pass: with DeepSpeed that takes the step, too.

        A loss that is not finite made every weight NaN. (Gradients may be infinite: a scaler leaves out such steps.)
        """
        self._step_loss = self._step_loss + loss
        if not self.accelerator.sync_gradients:
            return
        if not self.accelerator.gather(self._step_loss).isfinite().all():  # in all processes at once, as above
            taught, said = (next(each.parameters()).dtype for each in (self.teacher, model))
            raise InputError(
                f"the loss of step {self.state.global_step + 1} is not finite: logits of the teacher ({taught}) or"
                f" of the student ({said}) are NaN or infinite. float16 overflows where bfloat16 and float32 do not; if"
                " it is the student, lower the learning rate"
            )

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """As ``Trainer``'s; of the outputs, the student's logits alone."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            losses, positions, outputs = self._losses(model, inputs)
        by_row = losses.new_zeros(positions.shape).masked_scatter(positions, losses).sum(1)
        # Row by row, since the last rows of a distributed set are there twice; this leaves the copies out.
        rows = self.accelerator.gather_for_metrics(torch.stack([by_row, positions.sum(1).to(by_row)], dim=1))
        total, count = rows.sum(0).tolist()
        self._evaluated = (self._evaluated[0] + total, self._evaluated[1] + count)
        if prediction_loss_only:
            return losses.mean(), None, None
        return losses.mean(), outputs.logits, inputs["labels"]

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """As ``Trainer``'s, but for the loss, which it would take to be the mean of the batches' losses."""
        self._evaluated = (0.0, 0.0)
        output: Any = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        )
        if self.accelerator.distributed_type.startswith("MULTI_"):  # DDP
            # accelerate 1.15 leaves a mark on a model that is evaluated before it is trained, and for its sake train()
            # would not wrap it: each process trained a model of its own, without a word.
            vars(self.model).pop("_is_accelerate_prepared", None)
        total, count = self._evaluated
        if not count:
            raise InputError("the set to evaluate has no answer position: no label is other than -100")
        output.metrics[f"{metric_key_prefix}_loss"] = total / count
        return output

    def _losses(self, model: nn.Module, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor, Any]:
        """Losses [N]; bool [B, T-1]: the N positions; the student's outputs."""
        positions = _positions(inputs)
        read = {name: value for name, value in inputs.items() if name not in ("labels", "states")}
        taught = self._teacher_logits(read, positions)
        outputs = model(**read, use_cache=False)
        logits = outputs.logits[:, :-1][positions]
        taught = taught[:, : logits.shape[-1]].to(logits.device)  # columns that the teacher alone has are no tokens
        states, labels = inputs["states"][:, :-1][positions], inputs["labels"][:, 1:][positions]
        return self._losses_of(logits, taught, states, labels=labels), positions, outputs

    @torch.no_grad()
    def _teacher_logits(self, read: Mapping[str, Any], positions: Tensor) -> Tensor:
        """[N, V']: on the device where the teacher has its embeddings and takes its inputs."""
        device = next(self.teacher.parameters()).device
        there = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in read.items()}
        logits: Tensor = self.teacher(**there, use_cache=False).logits
        return logits[:, :-1][positions.to(logits.device)]

    def _set_signature_columns_if_needed(self) -> None:
        """The data set's columns that stay: those that the student reads, and those that the collator does."""
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            self._signature_columns: Any = [*(self._signature_columns or []), "states", "start"]


def _positions(inputs: Mapping[str, Any]) -> Tensor:
    """bool [B, T-1]: the logits here predict a token that has a label."""
    for name in ("labels", "states"):
        if inputs.get(name) is None:
            raise InputError(
                f"a batch has no {name}, only {', '.join(inputs)}: fastmask.corpus.ConstraintCollator makes them"
            )
    labels, states = inputs["labels"], inputs["states"]
    if labels.shape != states.shape:
        raise InputError(f"labels {tuple(labels.shape)} and states {tuple(states.shape)} must have one shape [B, T]")
    positions: Tensor = labels[:, 1:] != IGNORED
    return positions


def _named_sets(train: Any, evaluate: Any) -> list[tuple[str, Any]]:
    sets = evaluate if isinstance(evaluate, dict) else {"": evaluate}
    named = [("train_dataset", train), *((f"eval_dataset{key and f' {key}'}", each) for key, each in sets.items())]
    return [(name, dataset) for name, dataset in named if dataset is not None]
