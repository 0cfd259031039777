"""One hot path in a process of its own: `python -m benchmarks.instructions.one_path PATH REPEATS INPUTS`."""

import gc
import pickle
import sys
from pathlib import Path

import fastmask as fm
from benchmarks.instructions.paths import PATHS

WARM_UP = 3  # runs: caches, lazily filled tables; a loss's gradient is foreseen from the third step on


def main(path: str, repeats: str, inputs: str) -> None:
    """Prints the units of work in one run."""
    fm.set_num_threads(1)
    work = PATHS[path].prepare(pickle.loads(Path(inputs).read_bytes()))
    gc.disable()
    for _ in range(WARM_UP + int(repeats)):
        work.run()
    print(work.units)


main(*sys.argv[1:])
