"""What is shipped: the sdist holds what a build needs and nothing else, the wheel from it runs without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.long  # the kernel is compiled anew
pytest.importorskip("build")
tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer reads pyproject.toml")

ROOT = Path(__file__).parents[1]
COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "clang++", "cl")
SOURCES = ("csrc/", "src/", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py")
MADE = ("PKG-INFO", "setup.cfg", "src/fastmask.egg-info/")  # by setuptools


def run(*arguments: object, path: str | None = None, **environment: str) -> str:
    """What a program prints; without what the tests' own interpreter was told to import from elsewhere."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = outer | ({"PATH": path} if path else {}) | environment
    ended = subprocess.run(list(map(str, arguments)), capture_output=True, encoding="utf-8", env=environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def project(tracked, tmp_path_factory) -> Path:
    """The checkout without anything that was ever built in it."""
    folder = tmp_path_factory.mktemp("project")
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def sdist(project, tmp_path_factory) -> Path:
    """Built in an environment of its own, with nothing in it but what pyproject.toml asks for."""
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--outdir", out, project)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """Built from the unpacked sdist alone, in an environment of its own."""
    sources, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(sources)
    (unpacked,) = sources.iterdir()
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out, unpacked)
    (built,) = out.iterdir()
    return built


def test_the_sdist_holds_the_sources_and_nothing_else(sdist, tracked):
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames() if not archive.getmember(name).isdir()}
    assert {name for name in held if not name.startswith(MADE)} == {
        name for name in tracked if name.startswith(SOURCES)
    }


def test_the_wheel_holds_the_package_and_nothing_else(wheel, tracked):
    names = zipfile.ZipFile(wheel).namelist()
    (kernel,) = (name for name in names if name.startswith("fastmask/_core.") and not name.endswith(".pyi"))
    package = {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
    assert {name for name in names if ".dist-info/" not in name} == package | {kernel}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_installs_and_passes_the_suite_without_a_compiler(wheel, project, tmp_path):
    """By the very command with which the wheels of a release are tested."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["cibuildwheel"]
    folder = tmp_path / "fresh"
    venv.create(folder, with_pip=True)
    binaries = folder / ("Scripts" if sys.platform == "win32" else "bin")
    assert not [name for name in COMPILERS if shutil.which(name, path=str(binaries))]
    python, with_extras = binaries / "python", f"{wheel}[{','.join(settings['test-extras'])}]"
    run(
        python, "-m", "pip", "install", "-c", ROOT / "constraints.txt", with_extras, *settings["test-requires"],
        path=str(binaries),
    )  # fmt: skip
    where = run(python, "-c", "import fastmask, os; print(os.path.dirname(fastmask.__file__))", path=str(binaries))
    assert folder in Path(where.strip()).parents
    command = settings["test-command"].replace("{project}", str(project))
    said = run(
        "/bin/sh" if os.name == "posix" else "cmd", "-c" if os.name == "posix" else "/c", command, path=str(binaries)
    )
    print(said[-1000:])
    assert " passed" in said
