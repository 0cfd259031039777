"""Trees of draft tokens, as speculative decoding checks them: the mask behind every node, beside xgrammar's own form.

Trees stand at real positions of the article's answers: eight tokens deep along the answer, and beside each of these
seven drawn from those that are allowed there. Node 0 is the last token of the text so far, by xgrammar's convention.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import fastmask as fm
from benchmarks.formats import ARTICLE
from benchmarks.harness import Contender, Report
from benchmarks.packed import Rows, empty_rows
from benchmarks.peers import XGrammar, installed
from benchmarks.peers.entrants import engine
from benchmarks.peers.xgrammar import DraftTree, GrammarMatcher
from benchmarks.workloads import Workload, workloads

DEPTH, WIDTH = 8, 8
NODES = DEPTH * WIDTH
PARENTS = np.array([-1 if depth == 0 else (depth - 1) * WIDTH for depth in range(DEPTH) for _ in range(WIDTH)])
TREES = 16
AT_ONCE, ONE_BY_ONE, THEIRS = "fastmask, all trees at once", "fastmask, tree by tree", "xgrammar, traverse_draft_tree"


@dataclass(frozen=True)
class Tree:
    """Behind ``prefix``: the first child of each spine node goes on along the answer, its siblings end there."""

    prefix: list[int]
    root: int  # the state behind it
    tokens: npt.NDArray[np.int64]  # [NODES], without the prefix's last token


def run(report: Report) -> None:
    fm.set_num_threads(1)
    for workload in workloads(report.settings.quick, [ARTICLE]):
        con = workload.constraint()
        trees = grown(workload, con)
        memory = empty_rows(len(trees) * (1 + NODES), con.vocab_size)
        nodes = len(trees) * (1 + NODES)
        contenders = {
            AT_ONCE: Contender(own_masks(con, trees, memory), nodes),
            ONE_BY_ONE: Contender(own_masks_each(con, trees, memory), nodes),
        }
        if XGrammar in installed(report.note):
            require_same_masks(workload, con, trees)
            grammar = engine(XGrammar, workload.tokenizer).compile(workload.format.schema)
            matchers = [GrammarMatcher(grammar) for _ in trees]
            contenders[THEIRS] = Contender(traversal(matchers, trees, memory), nodes)
        race = report.race("trees", workload.name, "s/node", contenders, ONE_BY_ONE)
        if THEIRS in contenders:
            report.find_ratio("trees.masks", workload.name, race, THEIRS, ONE_BY_ONE)


def grown(workload: Workload, con: fm.Constraint) -> list[Tree]:
    """One tree in the middle of each of some answers."""
    draw = np.random.default_rng(0)
    trees = []
    for answer in workload.sample(TREES):
        at = len(answer) // 2 - DEPTH // 2
        states = con.walk([answer[: at + DEPTH]])[0]
        levels = [
            [answer[at + depth], *draw.choice(con.allowed_tokens(int(states[at + depth - 1])), WIDTH - 1)]
            for depth in range(DEPTH)
        ]
        trees.append(Tree(answer[:at], int(states[at - 1]), np.array(levels, np.int64).reshape(-1)))
    return trees


# ---- ours -------------------------------------------------------------------------------------------------


def own_masks(con: fm.Constraint, trees: list[Tree], memory: Rows) -> Callable[[], None]:
    roots, tokens = np.array([tree.root for tree in trees], np.int32), np.stack([tree.tokens for tree in trees])

    def masks() -> None:
        nodes = con.walk_tree(roots, tokens, PARENTS)
        con.bitmask(np.concatenate([roots[:, None], nodes], axis=1).reshape(-1), out=memory)

    return masks


def own_masks_each(con: fm.Constraint, trees: list[Tree], memory: Rows) -> Callable[[], None]:
    rows = memory[: 1 + NODES]
    each = [own_masks(con, [tree], rows) for tree in trees]

    def masks() -> None:
        for one in each:
            one()

    return masks


# ---- the peer's -------------------------------------------------------------------------------------------


def traversal(matchers: list[GrammarMatcher], trees: list[Tree], memory: Rows) -> Callable[[], None]:
    """Each tree with a matcher of its own, which stands before it already."""
    import torch

    rows = torch.from_numpy(memory[: 1 + NODES])
    pairs = [(matcher.behind(tree.prefix), draft(tree)) for matcher, tree in zip(matchers, trees, strict=True)]

    def masks() -> None:
        for matcher, tree in pairs:
            matcher.tree_masks(tree, rows)

    return masks


def draft(tree: Tree) -> DraftTree:
    """Node 0, then ours: a spine's node has the next level's first as its child, and a node the next of its level."""
    tokens = [tree.prefix[-1], *tree.tokens.tolist()]
    child, sibling = np.full(len(tokens), -1), np.full(len(tokens), -1)
    child[0] = 1
    child[1:-WIDTH:WIDTH] = np.arange(1 + WIDTH, len(tokens), WIDTH)
    sibling[1:] = np.arange(2, len(tokens) + 1)
    sibling[WIDTH::WIDTH] = -1
    return DraftTree.of(tokens, child, sibling)


def require_same_masks(workload: Workload, con: fm.Constraint, trees: list[Tree]) -> None:
    """By the schema's regex, which leaves no room for taste."""
    ours, theirs = (empty_rows(1 + NODES, con.vocab_size) for _ in range(2))
    matcher = engine(XGrammar, workload.tokenizer).regex(workload.format.regex)
    for tree in trees:
        own_masks(con, [tree], ours)()
        traversal([matcher], [tree], theirs)()
        if not XGrammar.agrees(theirs, ours, con.vocabulary):
            raise AssertionError(f"xgrammar masks a tree of {workload.name} otherwise")
