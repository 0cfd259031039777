"""The divergence in Triton: one kernel for the losses, one for the gradient, and between them one that mixes.

The mathematics is that of csrc/divergence.h: with x and y the penalised logits of the first and the second distribution
relative to their maxima, and τ the temperature, KL = Σ e^(x/τ) (x - y) / τ Σ e^(x/τ) - log Σ e^(x/τ) + log Σ e^(y/τ).
Powers are taken of two, as GPUs have them. Differences are taken before anything is scaled, so that they are exact
where the distributions are close.

The first kernel reads the logits once, a program a row, and keeps six floats of a row; the last makes the gradient
of these and of the logits, a program a block. Jensen-Shannon takes the sums of whole rows before any of its terms is
known, so its losses are a kernel of their own, which reads the logits again. A mask is read as packed bits from the
table of distinct rows, which caches hold; so what goes through memory is the logits, two times or three, the gradient
once, and nothing else of their size.

Importing this imports triton, so it is imported by who needs it and not before.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 2048  # logits of each side that a program holds at a time
_PER_WARP = 512  # of these: 16 a thread
# Of a row: maximum of the first and of the second, their sums, and the means that gradients take: of x - y under the
# first, or of log(p/m) under the first and of log(q/m) under the second.
_STATISTICS = tl.constexpr(6)

_LN2 = tl.constexpr(math.log(2.0))
_NO_MAXIMUM = tl.constexpr(-3.4028234663852886e38)  # the lowest float: differences from -inf would be NaN
_SMALLEST = tl.constexpr(1.1754943508222875e-38)  # of the floats with all their digits


class Pair(NamedTuple):
    """KL(first ‖ second) of N rows, N = outer · inner, or with shares Jensen-Shannon. All tensors are on one device."""

    first: Tensor  # [outer, inner, V'], of any strides but the last, which is 1
    second: Tensor  # likewise, of a width and a type of its own
    words: Tensor | None  # int32 [num_masks, W], packed masks; None: nothing is penalised
    rows: Tensor | None  # int64 [N], each row's mask
    penalties: Tensor | None  # float32 [N], in nats, before the temperature
    penalize_first: bool
    penalize_second: bool
    temperature: float
    shares: tuple[float, float] | None  # of the first and the second in a mixture, which add up to 1


def losses_of(pair: Pair) -> tuple[Tensor, Tensor]:
    """(float32 [N], statistics of the rows for :func:`gradient_of`)."""
    count, device = pair.first.shape[:2].numel(), pair.first.device
    losses = torch.empty(count, dtype=torch.float32, device=device)
    statistics = torch.empty(count, _STATISTICS.value, dtype=torch.float32, device=device)
    if count:
        with torch.cuda.device_of(pair.first):
            _losses[(count,)](*_arguments(pair), losses, statistics, **_options(pair))
            if pair.shares is not None:
                _mixed_losses[(count,)](*_arguments(pair), losses, statistics, *pair.shares, **_options(pair))
    return losses, statistics


def gradient_of(pair: Pair, statistics: Tensor, upstream: Tensor, gradient: Tensor, in_first: bool) -> None:
    """Fills ``gradient`` with that of the losses' sum weighed by ``upstream``, float32 [N], in ``pair.first`` or in
    ``pair.second``.

    ``gradient`` is contiguous, [..., V'] as the logits, and of any floating-point type.
    """
    width, options = gradient.shape[-1], _options(pair)
    blocks = triton.cdiv(width, options["GROUPS"] * 32)
    shares = (0.0, 0.0) if pair.shares is None else pair.shares
    outputs = (statistics, *shares, upstream, gradient, width, blocks, pair.shares is not None, in_first)
    if gradient.numel():
        with torch.cuda.device_of(gradient):
            _gradient[(upstream.numel() * blocks,)](*_arguments(pair), *outputs, **options)


def interpreted() -> bool:
    """Do the kernels run under Triton's interpreter, which takes tensors on a CPU?"""
    return not isinstance(_losses, triton.JITFunction)


def _arguments(pair: Pair) -> tuple[Any, ...]:
    """What all kernels begin with."""
    first, second = pair.first, pair.second
    sides = (*(first, *first.stride()[:2], first.shape[2]), *(second, *second.stride()[:2], second.shape[2]))
    num_words = 0 if pair.words is None else pair.words.shape[1]
    rate = 1 / (pair.temperature * _LN2.value)
    return (*sides, first.shape[1], pair.words, num_words, pair.rows, pair.penalties, rate)


def _options(pair: Pair) -> dict[str, Any]:
    block = min(_BLOCK, max(32, triton.next_power_of_2(max(pair.first.shape[2], pair.second.shape[2]))))
    return {
        "PENALIZE_FIRST": pair.penalize_first,
        "PENALIZE_SECOND": pair.penalize_second,
        "GROUPS": block // 32,
        "num_warps": max(1, block // _PER_WARP),
        "enable_fp_fusion": True,
    }


# A block is [GROUPS, 32]: a group of 32 logits for each word of the mask.


@triton.jit
def _losses(
    first,
    first_outer_stride,
    first_inner_stride,
    first_width,
    second,
    second_outer_stride,
    second_inner_stride,
    second_width,
    inner,
    words,
    num_words,
    rows,
    penalties,
    rate,
    losses,
    statistics,
    PENALIZE_FIRST: tl.constexpr,
    PENALIZE_SECOND: tl.constexpr,
    GROUPS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    first = _row(first, row, inner, first_outer_stride, first_inner_stride)
    second = _row(second, row, inner, second_outer_stride, second_inner_stride)
    penalty = 0.0
    if PENALIZE_FIRST or PENALIZE_SECOND:
        words += tl.load(rows + row) * num_words
        penalty = tl.load(penalties + row)
    first_max, second_max = tl.full((), _NO_MAXIMUM, tl.float32), tl.full((), _NO_MAXIMUM, tl.float32)
    first_sum, second_sum, dot = tl.full((), 0, tl.float32), tl.full((), 0, tl.float32), tl.full((), 0, tl.float32)
    for start in range(0, tl.maximum(first_width, second_width), GROUPS * 32):
        group = start // 32
        x = _block(first, first_width, group, words, num_words, penalty, PENALIZE_FIRST, GROUPS)
        y = _block(second, second_width, group, words, num_words, penalty, PENALIZE_SECOND, GROUPS)
        new_first_max, new_second_max = tl.maximum(first_max, tl.max(x)), tl.maximum(second_max, tl.max(y))
        # The sums become relative to the new maxima. Rises and dot may be infinite where there is no mass, not yet or
        # not any more.
        first_rise, second_rise = new_first_max - first_max, new_second_max - second_max
        factor = tl.exp2(-first_rise * rate)
        first_sum *= factor
        dot = tl.where(first_sum == 0, 0.0, factor * dot + (second_rise - first_rise) * first_sum)
        second_sum *= tl.exp2(-second_rise * rate)
        first_max, second_max = new_first_max, new_second_max
        x, y = x - first_max, y - second_max
        first_e = tl.exp2(x * rate)
        dot += tl.sum(_product(first_e, x - y))
        first_sum += tl.sum(first_e)
        second_sum += tl.sum(tl.exp2(y * rate))
    mean = dot / first_sum
    tl.store(losses + row, (mean * rate + tl.log2(second_sum / first_sum)) * _LN2)
    statistics += row * _STATISTICS
    tl.store(statistics, first_max)
    tl.store(statistics + 1, second_max)
    tl.store(statistics + 2, first_sum)
    tl.store(statistics + 3, second_sum)
    tl.store(statistics + 4, mean)


@triton.jit
def _mixed_losses(
    first,
    first_outer_stride,
    first_inner_stride,
    first_width,
    second,
    second_outer_stride,
    second_inner_stride,
    second_width,
    inner,
    words,
    num_words,
    rows,
    penalties,
    rate,
    losses,
    statistics,  # of _losses, without the means
    first_share,
    second_share,
    PENALIZE_FIRST: tl.constexpr,
    PENALIZE_SECOND: tl.constexpr,
    GROUPS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    first = _row(first, row, inner, first_outer_stride, first_inner_stride)
    second = _row(second, row, inner, second_outer_stride, second_inner_stride)
    penalty = 0.0
    if PENALIZE_FIRST or PENALIZE_SECOND:
        words += tl.load(rows + row) * num_words
        penalty = tl.load(penalties + row)
    statistics += row * _STATISTICS
    first_max, second_max = tl.load(statistics), tl.load(statistics + 1)
    first_scale, second_scale = 1 / tl.load(statistics + 2), 1 / tl.load(statistics + 3)
    loss, first_mean, second_mean = tl.full((), 0, tl.float32), tl.full((), 0, tl.float32), tl.full((), 0, tl.float32)
    for start in range(0, tl.maximum(first_width, second_width), GROUPS * 32):
        group = start // 32
        x = _block(first, first_width, group, words, num_words, penalty, PENALIZE_FIRST, GROUPS)
        y = _block(second, second_width, group, words, num_words, penalty, PENALIZE_SECOND, GROUPS)
        p, q = tl.exp2((x - first_max) * rate) * first_scale, tl.exp2((y - second_max) * rate) * second_scale
        of_p, of_q = _beside_mixture(p, q, first_share, second_share)
        loss += tl.sum(first_share * p * of_p + second_share * q * of_q)  # in one: no term of it is negative
        first_mean += tl.sum(p * of_p)
        second_mean += tl.sum(q * of_q)
    tl.store(losses + row, loss)
    tl.store(statistics + 4, first_mean)
    tl.store(statistics + 5, second_mean)


@triton.jit
def _gradient(
    first,
    first_outer_stride,
    first_inner_stride,
    first_width,
    second,
    second_outer_stride,
    second_inner_stride,
    second_width,
    inner,
    words,
    num_words,
    rows,
    penalties,
    rate,
    statistics,
    first_share,
    second_share,
    upstream,
    gradient,
    width,
    blocks,  # of a row of the gradient
    MIXED: tl.constexpr,
    IN_FIRST: tl.constexpr,
    PENALIZE_FIRST: tl.constexpr,
    PENALIZE_SECOND: tl.constexpr,
    GROUPS: tl.constexpr,
):
    row = (tl.program_id(0) // blocks).to(tl.int64)
    group = tl.program_id(0) % blocks * GROUPS
    first = _row(first, row, inner, first_outer_stride, first_inner_stride)
    second = _row(second, row, inner, second_outer_stride, second_inner_stride)
    penalty = 0.0
    if PENALIZE_FIRST or PENALIZE_SECOND:
        words += tl.load(rows + row) * num_words
        penalty = tl.load(penalties + row)
    weight = tl.load(upstream + row)
    counts = tl.where(weight == 0, 0, 1)  # a position that does not count is not read
    x = _block(first, first_width * counts, group, words, num_words, penalty, PENALIZE_FIRST, GROUPS)
    y = _block(second, second_width * counts, group, words, num_words, penalty, PENALIZE_SECOND, GROUPS)
    statistics += row * _STATISTICS
    x, y = x - tl.load(statistics), y - tl.load(statistics + 1)
    inverse = rate * _LN2  # of the temperature
    p, q = tl.exp2(x * rate) * (1 / tl.load(statistics + 2)), tl.exp2(y * rate) * (1 / tl.load(statistics + 3))
    if MIXED:
        of_p, of_q = _beside_mixture(p, q, first_share, second_share)
        if IN_FIRST:
            slope = first_share * _product(p, of_p - tl.load(statistics + 4))
        else:
            slope = second_share * _product(q, of_q - tl.load(statistics + 5))
    elif IN_FIRST:
        slope = _product(p, x - y - tl.load(statistics + 4)) * inverse
    else:
        slope = q - p
    slope *= weight * inverse
    columns = _columns(group, GROUPS)
    tl.store(gradient + row * width + columns, slope.to(gradient.dtype.element_ty), columns < width)


@triton.jit
def _row(logits, row, inner, outer_stride, inner_stride):
    return logits + (row // inner) * outer_stride + (row % inner) * inner_stride


@triton.jit
def _columns(group, GROUPS: tl.constexpr):
    return (group + tl.arange(0, GROUPS))[:, None] * 32 + tl.arange(0, 32)[None, :]


@triton.jit
def _block(logits, width, group, words, num_words, penalty, PENALIZED: tl.constexpr, GROUPS: tl.constexpr):
    """Float32, penalised where the mask says so; -inf past the end of the row."""
    columns = _columns(group, GROUPS)
    block = tl.load(logits + columns, columns < width, -float("inf")).to(tl.float32)
    if PENALIZED:
        groups = group + tl.arange(0, GROUPS)
        word = tl.load(words + groups, groups < num_words, 0)
        allowed = (word[:, None] >> tl.arange(0, 32)[None, :]) & 1
        # An infinite penalty is not subtracted: a logit may be infinite, too.
        lowered = tl.where(penalty == float("inf"), -float("inf"), block - penalty)
        block = tl.where(allowed != 0, block, lowered)
    return block


@triton.jit
def _beside_mixture(p, q, first_share, second_share):
    """log(p/m) and log(q/m), m = first_share·p + second_share·q; where p or q is 0, any finite number."""
    inverse = 1 / tl.maximum(first_share * p + second_share * q, _SMALLEST)
    difference = (p - q) * inverse
    return _log(p * inverse, second_share * difference), _log(q * inverse, -first_share * difference)


@triton.jit
def _log(ratio, excess):
    """``excess`` is ratio - 1, better known than the ratio: it makes the logarithms that are small, by 2 artanh."""
    half = excess / (2 + excess)
    square = half * half
    near = 2 * half * (1 + square * (1 / 3 + square * (1 / 5 + square * (1 / 7 + square * (1 / 9)))))
    return tl.where(tl.abs(excess) < 0.3, near, tl.log2(tl.maximum(ratio, _SMALLEST)) * _LN2)


@triton.jit
def _product(mass, ratio):
    """0 where there is no mass, whatever the ratio."""
    return tl.where(mass == 0, 0.0, mass * ratio)
