"""From a schema to its first mask, by every engine that is here: what another process does with schemas from the wild.

Translating and compiling happen in a process with a limit on its memory, replaced when it dies or falls silent: some
engines take all memory there is, and can be neither limited nor interrupted from inside.
"""

from __future__ import annotations

import multiprocessing as mp
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import fastmask as fm
from benchmarks.packed import empty_rows
from benchmarks.peers import LLGuidance, LMFormatEnforcer, OutlinesCore, Peer, XGrammar

START = 60.0  # seconds for a process to be ready
TIMEOUT = 5.0  # seconds for one step, then the process is ended
MEMORY = 6 << 30  # bytes; fastmask's own budget is 2 GiB

UNTRANSLATED, COMPILED = "without a regex", "compiled"
SILENT = f"no answer in {TIMEOUT:.0f} s"
DIED = "its process died"

OURS, BY_REGEX = "fastmask", "fastmask, from regex"
PEERS: tuple[type[Peer], ...] = (OutlinesCore, XGrammar, LLGuidance, LMFormatEnforcer)


class Outcome(NamedTuple):
    kind: str  # one of the above, or the name of the error
    seconds: float = 0.0


Compile = Callable[[str], object]


def compiler(name: str, tokenizer: Any) -> Compile:
    """What compiles for one tokenizer, warmed up; what belongs to the tokenizer's set-up is done."""
    if name in (OURS, BY_REGEX):
        vocabulary = fm.Vocabulary.from_tokenizer(tokenizer)
        make = fm.Constraint.from_schema if name == OURS else fm.Constraint.from_regex
        made: Compile = lambda text: first_mask(make(text, vocabulary))  # noqa: E731 - three ways, one name
    else:
        peer = next(peer for peer in PEERS if peer.name == name)(tokenizer)
        row = empty_rows(1, len(tokenizer))

        def made(text: str) -> None:
            matcher = peer.schema(text)
            matcher.masks([], matcher.rows(row))

    made("warm-up" if name == BY_REGEX else '{"type": "boolean"}')
    return made


def first_mask(con: fm.Constraint) -> Any:
    return con.bitmask(con.initial_state)


# ---- in another process -----------------------------------------------------------------------------------


def compile_all(name: str, tokenizer: Any, schemas: list[str], seconds: float) -> list[Outcome]:
    """The schemas' outcomes in their order, of as many as there are seconds for."""
    outcomes: list[Outcome] = []
    worker = Worker(name, tokenizer)
    end = time.perf_counter() + seconds
    for schema in schemas:
        if outcomes and time.perf_counter() > end:
            break
        outcomes.append(worker.compile(schema))
        if not worker.alive:
            worker = Worker(name, tokenizer)
    worker.end()
    return outcomes


class Worker:
    """A process that compiles one schema after another; it is ended when it gives no answer in time."""

    def __init__(self, name: str, tokenizer: Any) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, tokenizer), daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self.alive = True
        if self.receive(START) != "ready":
            raise RuntimeError(f"no process compiles schemas by {name}: see above")

    def compile(self, schema: str) -> Outcome:
        self.pipe.send(schema)
        translated = self.receive()  # what a schema's regex costs is not timed where it is what is given
        if translated is not True:
            return Outcome(UNTRANSLATED)
        begin = time.perf_counter()
        answer = self.receive()
        return answer if isinstance(answer, Outcome) else Outcome(answer, time.perf_counter() - begin)

    def receive(self, seconds: float = TIMEOUT) -> Any:
        """The worker's next word; why there is none, and the worker's end, otherwise."""
        try:
            if self.pipe.poll(seconds):
                return self.pipe.recv()
            missing = SILENT
        except (EOFError, ConnectionError):
            missing = DIED
        self.end()
        return missing

    def end(self) -> None:
        self.alive = False
        self.process.kill()
        self.process.join()


def serve(pipe: Connection, name: str, tokenizer: Any) -> None:
    limit_memory()
    compile = compiler(name, tokenizer)
    pipe.send("ready")
    while True:
        text: str | None = pipe.recv()
        if name == BY_REGEX:
            text = translate(text)
        pipe.send(text is not None)
        if text is not None:
            pipe.send(compile_one(compile, text))


def limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def translate(schema: str) -> str | None:
    from outlines_core.json_schema import build_regex_from_schema

    try:
        return build_regex_from_schema(schema)
    except (ValueError, TypeError):
        return None


def compile_one(compile: Compile, text: str) -> Outcome:
    begin = time.perf_counter()
    try:
        compile(text)
        kind = COMPILED
    except Exception as error:  # each engine has its own
        kind = type(error).__name__
    return Outcome(kind, time.perf_counter() - begin)
