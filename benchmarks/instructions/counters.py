"""Who counts a process's instructions: the processor itself (perf) where it can, else a simulated one (valgrind)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

HOW_TO = (
    "nothing here counts instructions: install valgrind (apt install valgrind), or perf (apt install linux-perf) on a"
    " machine whose processor lets it count (`perf stat -e instructions:u true` tells)"
)


class Count(NamedTuple):
    instructions: int
    printed: str  # by the process, on its standard output


class Counter(Protocol):
    name: str

    def command(self, out: Path) -> list[str]:
        """What stands before the process's own command; the figure goes into the file ``out``."""

    def read(self, text: str) -> int:
        """The figure in the file's text. Raises ValueError if there is none."""


class Perf:
    name = "perf"

    def command(self, out: Path) -> list[str]:
        return ["perf", "stat", "-x", ",", "-e", "instructions:u", "-o", str(out), "--"]

    def read(self, text: str) -> int:
        return _number(r"^(\d+),.*instructions:u", text)


class Callgrind:
    name = "valgrind"

    def command(self, out: Path) -> list[str]:
        return ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]

    def read(self, text: str) -> int:
        return _number(r"^totals: (\d+)$", text)


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no count of instructions in {text[:200]!r}")
    return int(found[1])


def count(counter: Counter, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Count:
    """Run a command to its end.

    Raises:
        subprocess.CalledProcessError: it failed; its standard error is printed as it comes.
        ValueError: nothing was counted.
    """
    with TemporaryDirectory() as folder:
        out = Path(folder, "count")
        done = subprocess.run(
            [*counter.command(out), *command], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        return Count(counter.read(out.read_text(encoding="utf-8")), done.stdout)


def find_counter() -> Counter | None:
    """The first that is installed and counts; the processor's own is a hundred times as fast."""
    return next((counter for counter in (Perf(), Callgrind()) if which(counter.name) and _counts(counter)), None)


def _counts(counter: Counter) -> bool:
    try:
        return count(counter, ["true"]).instructions > 0
    except (ValueError, OSError, subprocess.CalledProcessError):
        return False
