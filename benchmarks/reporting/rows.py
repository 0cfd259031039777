"""The README's table as data: what each line says, which command measures it, which figures it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.reporting.picks import (
    TOKENIZERS,
    Figure,
    Pick,
    against,
    ahead,
    every_engine,
    fastest_peer,
    found,
    furthest_ahead,
)
from benchmarks.reporting.runs import OURS, Run

# ---- how figures are written ------------------------------------------------------------------------------


def digits(value: float) -> str:
    """Two digits, or all of those before the point."""
    if value >= 9.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"


class Form(NamedTuple):
    """How the figures of a cell are written: 2.1 / 7.0 / 7.4 ×."""

    scale: float
    unit: str
    write: Callable[[float], str] = digits

    def cell(self, figures: list[Figure]) -> str:
        return " / ".join(self.write(self.scale * figure.value) for figure in figures) + (self.unit if figures else "")


TIMES, PERCENT, MILLIONS = Form(1, " ×"), Form(100, " %"), Form(1e-6, "")
KILOBYTES, MILLISECONDS = Form(1e-3, " kB"), Form(1e3, " ms")


# ---- the rows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of the table. ``{engines}`` in ``what`` stands for those that the figures speak of."""

    what: str
    group: str  # `python -m benchmarks` and this word measure it
    picks: tuple[Pick, ...]  # their figures stand side by side in a cell
    form: Form = TIMES

    def cells(self, run: Run) -> dict[str, list[Figure]]:
        """A cell for each tokenizer: all figures or, where one is missing, none."""
        cells = {}
        for tokenizer in TOKENIZERS:
            figures = [pick(run, tokenizer) for pick in self.picks]
            cells[tokenizer] = [figure for some in figures for figure in some] if all(figures) else []
        return cells


STATES, MASKS = "article · {}", "article · {} · *"
LOSS, STEP = "article · {} · * rows", "article · {} · student*positions"
EAGER, PLAIN = "torch, eager*", "plain KL, eager torch"

ROWS = [
    Row(
        "states of a batch, against stepping outlines-core's `Guide` with masks",
        "walk",
        (found("walk.guide", STATES),),
    ),
    Row("… against the fastest peer's masks ({engines})", "walk", (found("walk.peers", MASKS),)),
    Row(
        "… against outlines-core's accepting alone, which leaves no mask behind",
        "walk",
        (against("walk", STATES, "outlines-core, accept only", f"{OURS}, states"),),
    ),
    Row(
        "… against the fastest peer's batched form, 64 rows ({engines})",
        "corpus",
        (found("corpus.states", "article · {}, 64 × *"),),
    ),
    Row(
        "the mask of one position, median / 99 of 100, against the fastest peer's ({engines})",
        "latency",
        tuple(fastest_peer("latency", STATES, quantile) for quantile in ("p50", "p99")),
    ),
    Row(
        "masks of a tree of 64 draft tokens, against xgrammar's `traverse_draft_tree`",
        "trees",
        (found("trees.masks", STATES),),
    ),
    Row(
        "schema to first mask, against llguidance / xgrammar's compile",
        "compile",
        (found("compile.llguidance", STATES), found("compile.xgrammar", STATES)),
    ),
    Row(
        "regex to the masks of all states, against `outlines_core.Index`", "compile", (found("compile.table", STATES),)
    ),
    Row("tokenizer to vocabulary and trie, against xgrammar", "compile", (found("compile.tokenizer", "{}"),)),
    Row(
        "a step in `transformers`, against xgrammar's processor, batch 1 / 16 / 64",
        "generation",
        (
            found("generation.single", "article · {}, batch 1"),
            found("generation.batch", "article · {}, batch 16"),
            found("generation.batch", "article · {}, batch 64"),
        ),
    ),
    Row(
        "… its share of a decoding step of a GPT-2 of 124 M parameters, batch 1 / 64",
        "generation",
        tuple(
            against("generation", f"share · article · {{}}, batch {batch}", OURS, "forward of GPT-2*")
            for batch in (1, 64)
        ),
        PERCENT,
    ),
    Row(
        "annotating a corpus over Arrow, one thread, million tokens/s",
        "corpus",
        (found("corpus.rate", STATES),),
        MILLIONS,
    ),
    Row("bytes of the constraint with all its masks", "memory", (found("memory.constraint", STATES),), KILOBYTES),
    Row(
        "`constrained_kl`, forward and backward, against torch with the mask at hand, eager / compiled",
        "losses",
        (found("losses.eager", LOSS), found("losses.compiled", LOSS)),
    ),
    Row("… its Jensen-Shannon divergence, eager", "losses", (against("losses", f"{LOSS} · Jensen*", EAGER, OURS),)),
    Row(
        "… its time, in that of moving logits and gradient through memory",
        "losses",
        (found("losses.traffic", LOSS),),
    ),
    Row(
        "a training step of the article's student, against plain KL in eager torch: at once / in chunks",
        "training_step",
        tuple(against("training_step", STEP, PLAIN, f"constrained, {OURS}{form}") for form in ("", " in chunks")),
    ),
    Row(
        "… its peak memory beyond the models' own, plain KL's against ours: at once / in chunks",
        "training_step",
        tuple(
            against("training_step", f"{STEP}, peak memory", PLAIN, f"constrained, {OURS}{form}")
            for form in ("", " in chunks")
        ),
    ),
    Row(
        "schemas from the wild that compile: {engines}",
        "schemas",
        (every_engine("schemas", "{}", "*, compiled"),),
        PERCENT,
    ),
    Row("… of the recursive ones", "schemas", (every_engine("schemas", "{} · recursive", "*, compiled"),), PERCENT),
    Row("… of the largest tenth", "schemas", (every_engine("schemas", "{} · the largest *", "*, compiled"),), PERCENT),
    Row("… time to compile or refuse one, median", "schemas", (every_engine("schemas", "{}", "*, p50"),), MILLISECONDS),
    Row("… 99 of 100", "schemas", (every_engine("schemas", "{}", "*, p99"),), MILLISECONDS),
    Row("… the longest", "schemas", (every_engine("schemas", "{}", "*, max"),), MILLISECONDS),
]


def all_rows(run: Run) -> list[Row]:
    """The rows above, and one for every peer that is ahead of us somewhere."""
    peers = dict.fromkeys((line.group, line.contender) for line, _ in ahead(run))
    return ROWS + [
        Row(f"where {contender} is furthest ahead ({{engines}})", group, (furthest_ahead(group, contender),))
        for group, contender in peers
    ]
