"""The engines that users would otherwise pick, each driven in its best way by its own documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Protocol, TypeVar

from benchmarks.peers.llguidance import LLGuidance, LLGuidanceDrafts
from benchmarks.peers.lm_format_enforcer import LMFormatEnforcer
from benchmarks.peers.outlines_core import OutlinesCore
from benchmarks.peers.single import Peer
from benchmarks.peers.xgrammar import XGrammar

PEERS: tuple[type[Peer], ...] = (OutlinesCore, XGrammar, LLGuidance, LLGuidanceDrafts, LMFormatEnforcer)


class Needy(Protocol):
    name: str
    needs: tuple[str, ...]


Some = TypeVar("Some", bound=type[Needy])


def installed(note: Callable[[str], None], peers: Sequence[Some] = PEERS) -> list[Some]:
    """Those of the peers that can be imported here; the others are noted."""
    found = []
    for peer in peers:
        missing = [package for package in peer.needs if find_spec(package) is None]
        if missing:
            note(f"{peer.name} skipped: {', '.join(missing)} not installed")
        else:
            found.append(peer)
    return found
