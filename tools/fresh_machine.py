"""Follows README.md to the letter: a fresh clone, empty environments, nothing else; whatever differs ends it.

    python -m tools.fresh_machine [demo] [test] [install] [commands] [code]

Each name is one part of README; without names all are followed, in this order. What is not committed is not cloned.
It needs what README asks of a machine: Python, a compiler, make and a package index. `make demo` and `make test` run
twice, the second time without a network. Models that README names are stood in for by tiny ones in folders of these
names, so nothing is downloaded but packages.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import pages

REPOSITORY = Path(__file__).parents[1]
# Of the machine, nothing that Python or a checkout beside this one would bring.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FASTMASK", "VIRTUAL_ENV"))
}
NO_NETWORK = {"PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"}
# The loopback stays, by which processes of one training meet.
WITHOUT_NETWORK = ["unshare", "-rn", "sh", "-c", 'ip link set lo up 2>/dev/null; exec "$@"', "sh"]
DEMO_LEAVES = ("table.md", "numbers.json", "curves.png", "samples-teacher.json", "teacher", "student", "finetuned")
STAND_INS = """
from examples.models import tiny
for name in ("gpt2", "distilgpt2"):
    for part in tiny():
        part.save_pretrained(f"{folder}/{name}")
"""
ANSWERS = """\
{"reply": "{\\"name\\":\\"Ann\\",\\"n\\":1}"}
{"reply": "{\\"name\\":\\"Ann\\",\\"n\\":x}"}
"""
SCHEMA = """\
{"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}, "required": ["name", "n"]}
"""
COMMANDS_LEAVE = ("annotated/part-00000.parquet", "annotated/masks.safetensors", "report.html")


class Difference(Exception):
    """README says one thing, the machine another."""


def run(*command: str, folder: Path, allowed: tuple[int, ...] = (0,), **environment: str) -> str:
    """What a command says, which is shown meanwhile.

    Raises:
        Difference: another exit code than those allowed.
    """
    print("$", *command, flush=True)
    lines = []
    with subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT | environment, stdin=subprocess.DEVNULL, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode not in allowed:
        raise Difference(f"{' '.join(command)} ended with exit code {process.returncode}")
    return "".join(lines)


def offline(*command: str, folder: Path) -> str:
    """The same without a network, or where the system does not let us, asked not to use it."""
    possible = (
        shutil.which("unshare") and not subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode
    )
    return run(*(WITHOUT_NETWORK if possible else []), *command, folder=folder, **NO_NETWORK)


def require(equal: bool, difference: str) -> None:
    if not equal:
        raise Difference(difference)


def require_files(names: tuple[str, ...], folder: Path) -> None:
    missing = [name for name in names if not (folder / name).exists()]
    require(not missing, f"{folder} lacks {', '.join(missing)}")


# ---- the parts of README ------------------------------------------------------------------------------------------


def demo(clone: Path) -> None:
    """`make demo` ends with README's table, with a network and without."""
    shown = pages.table("| model |", clone / "README.md")
    for follow in (run, offline):
        shutil.rmtree(clone / "runs", ignore_errors=True)
        follow("make", "demo", folder=clone)
        require_files(DEMO_LEAVES, clone / "runs" / "demo")
        found = (clone / "runs" / "demo" / "table.md").read_text(encoding="utf-8")
        require(found.startswith(shown), f"README's table is\n{shown}\nand the demo's\n{found}")


def test(clone: Path) -> None:
    """`make test` ends as README says, with a network and without."""
    for follow in (run, offline):
        said = follow("make", "test", folder=clone)
        require(bool(re.search(r"\d+ passed", said)), "make test does not end with pytest's count")
        require("mask bits compared with a reference: " in said, "make test does not tell how many bits were compared")


def install(clone: Path) -> None:
    """`pip install .` needs numpy and outlines-core, and brings nothing else."""
    python = str(empty_environment(clone / "runs" / "installed") / "python")
    before = packages(python)
    run(python, "-m", "pip", "install", "--quiet", ".", folder=clone)
    brought = packages(python) - before
    require(brought == {"fastmask", "numpy", "outlines-core"}, f"pip install . brought {', '.join(sorted(brought))}")
    run(python, "-c", "import fastmask; print(fastmask.Constraint)", folder=Path(tempfile.gettempdir()))


def commands(clone: Path) -> None:
    """README's `fastmask` commands, on files of our own under the names that README gives them."""
    folder = workplace(clone)
    (folder / "answers.jsonl").write_text(ANSWERS, encoding="utf-8")
    (folder / "person.schema.json").write_text(SCHEMA, encoding="utf-8")
    for command, shown in pages.commands(clone / "README.md"):
        if "--svg" in command and not shutil.which("dot"):
            print(f"left out, for want of Graphviz: {command}", flush=True)
        elif command.startswith("fastmask "):
            finds = command.startswith("fastmask check")
            said = run("bash", "-c", command, folder=folder, allowed=(1,) if finds else (0,), PATH=path_of(clone))
            for line in shown:
                require(any_tokenizer(line) in any_tokenizer(said), f"README's {command!r} says\n{line}")
    require_files((*COMMANDS_LEAVE, *(["person.svg"] if shutil.which("dot") else [])), folder)


def code(clone: Path) -> None:
    """README's Python, block after block, as one program."""
    folder = workplace(clone)
    (folder / "readme.py").write_text("\n".join(pages.texts("python", clone / "README.md")), encoding="utf-8")
    run("python", "readme.py", folder=folder, PATH=path_of(clone))


PARTS = {part.__name__: part for part in (demo, test, install, commands, code)}

# ---- places ---------------------------------------------------------------------------------------------------------


def empty_environment(folder: Path) -> Path:
    """The programs of a virtual environment without packages."""
    run(sys.executable, "-m", "venv", str(folder), folder=folder.parents[1])
    return folder / "bin"


def packages(python: str) -> set[str]:
    said = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], env=ENVIRONMENT, capture_output=True, text=True
    )
    return {re.split(r"[= @]", line)[0].lower().replace("_", "-") for line in said.stdout.splitlines()}


def workplace(clone: Path) -> Path:
    """A folder outside the clone, with a model and a tokenizer under each name that README names."""
    folder = clone.parent / "work"
    if not folder.exists():
        run("make", ".venv/.installed", folder=clone)
        folder.mkdir()
        run("python", "-c", f"folder = {str(folder)!r}{STAND_INS}", folder=clone, PATH=path_of(clone))
    return folder


def path_of(clone: Path) -> str:
    return f"{clone / '.venv' / 'bin'}{os.pathsep}{ENVIRONMENT['PATH']}"


def any_tokenizer(text: str) -> str:
    """Which token it was depends on the tokenizer, which is a stand-in."""
    return re.sub(r"\btoken \d+", "token …", text)


def main(names: list[str]) -> None:
    unknown = set(names) - set(PARTS)
    if unknown:
        sys.exit(f"error: README has the parts {', '.join(PARTS)}; got {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "fastmask"
        run("git", "clone", "--quiet", str(REPOSITORY), str(clone), folder=Path(folder))
        for name in names or PARTS:
            try:
                PARTS[name](clone)
            except Difference as difference:
                sys.exit(f"error: {name}: {difference}")
            print(f"{name}: as README says", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
