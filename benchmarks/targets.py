"""What each figure must reach, in one place. A target's key names the group that measures it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A bound on one figure: at least ``bound`` where more is better, else at most."""

    what: str
    bound: float
    unit: str
    more_is_better: bool = True

    def reached(self, value: float) -> bool:
        return value >= self.bound if self.more_is_better else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.more_is_better else '≤'} {self.bound:g} {self.unit}"


TARGETS = {
    # from tokens to states and masks
    "walk.guide": Target("state ids, against outlines-core's Guide with fill_next_token_bitmask", 50, "× faster"),
    "walk.peers": Target("state ids, against the fastest peer's masks", 100, "× faster"),
    "walk.threads": Target("state ids on 2 threads, against 1", 1.8, "× faster"),
    "rows.packed": Target("packed rows into `out`, against memcpy", 0.8, "of its speed"),
    "rows.bool": Target("bool rows into `out`, against memset", 0.6, "of its speed"),
    "trees.masks": Target("masks of a tree of draft tokens, against xgrammar's traversal", 1, "× faster"),
    # from a schema or a tokenizer to the first mask
    "compile.llguidance": Target("schema to first mask, against llguidance", 1, "× faster"),
    "compile.xgrammar": Target("schema to first mask, against xgrammar's compile alone", 5, "× faster"),
    "compile.table": Target("regex to all states' masks, against outlines_core.Index", 40, "× faster"),
    "compile.tokenizer": Target("tokenizer to vocabulary and trie, against xgrammar's TokenizerInfo", 5, "× faster"),
    "schemas.p50": Target("compile time of the schema sample's regexes, median", 0.005, "s", more_is_better=False),
    "schemas.p99": Target("compile time of the schema sample's regexes, 99 of 100", 3, "s", more_is_better=False),
    "schemas.compiled": Target("of the schema sample's regexes compile within the budget", 470 / 485, "of all"),
    # in transformers
    "generation.single": Target("processor's step at batch 1, against xgrammar's", 1, "× faster"),
    "generation.batch": Target("processor's step at batch 16 and 64, against xgrammar's", 4, "× faster"),
    "generation.long": Target(
        "a step behind 2,048 tokens, against one behind 16", 1.2, "× its time", more_is_better=False
    ),
    # corpora
    "corpus.rate": Target("annotation over Arrow on one thread, tokens given", 15e6, "tokens/s"),
    "corpus.threads": Target("annotation on 2 threads, against 1", 1.7, "× faster"),
    "corpus.article": Target("annotation, against a matcher stepped token by token with masks", 1000, "× faster"),
    "corpus.states": Target("states, against the fastest peer's batched form", 50, "× faster"),
    "corpus.masks": Target("packed masks, against the fastest peer's batched form", 1, "× faster"),
    "corpus.text": Target("tokenizer's share of annotating text", 0.95, "of the time"),
    # losses
    "losses.eager": Target("distillation, forward and backward, against eager torch with a bool mask", 25, "× faster"),
    "losses.compiled": Target("distillation, forward and backward, against torch.compile of the same", 5, "× faster"),
    "losses.traffic": Target(
        "distillation, against its memory traffic at the rate of copying", 2, "× its time", more_is_better=False
    ),
    "losses.memory": Target("peak memory beyond inputs and gradient", 0.01, "of a logit matrix", more_is_better=False),
    "linear_losses.time": Target(
        "distillation in chunks of positions, against all logits at once", 1.2, "× its time", more_is_better=False
    ),
    "linear_losses.memory": Target("peak memory of the same", 0.1, "of its memory", more_is_better=False),
    # training
    "training_step.time": Target("a constrained step of training, against plain KL in eager torch", 1, "× faster"),
    "training_step.loss": Target("its states, masks and loss, against plain KL in eager torch", 10, "× faster"),
    "training_step.memory": Target(
        "its peak memory beyond the models' own", 3, "logit matrices, a gradient's included", more_is_better=False
    ),
    "training_step.chunked_memory": Target(
        "peak memory of the same in chunks", 1, "logit matrix", more_is_better=False
    ),
    # size
    "memory.constraint": Target("a constraint with all its masks", 2e6, "bytes", more_is_better=False),
    "memory.import": Target("import fastmask in a fresh process", 0.15, "s", more_is_better=False),
    "memory.modules": Target("heavy modules that import fastmask loads", 0, "modules", more_is_better=False),
}
