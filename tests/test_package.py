"""The package as a whole: what it imports, what it exports, and that its papers tell the truth."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import pytest

import fastmask as fm
from tools.public_api import MODULES

ROOT = Path(__file__).parents[1]
HEAVY = ["torch", "transformers", "outlines_core", "pydantic", "tokenizers", "datasets", "pyarrow", "tqdm"]


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_loads_nothing_heavy():
    assert python(f"import sys, fastmask; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_walking_loads_nothing_heavy():
    code = f"""
import sys, fastmask as fm
con = fm.Constraint.from_regex("[ab]+", fm.Vocabulary([b"a", b"b", None], 2))
con.allowed(con.walk([[0, 1, 2]]))
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert python(code) == "[]"


def test_all_is_complete():
    public = {name for name, value in vars(fm).items() if name[0] != "_" and not inspect.ismodule(value)}
    assert public == set(fm.__all__)
    assert sorted(fm.__all__) == sorted(set(fm.__all__))


def test_every_error_is_exported():
    errors = importlib.import_module("fastmask.errors")
    assert set(errors.__all__) <= set(fm.__all__)


def modules() -> list[str]:
    """The public ones, and every room that stands beside them in the package."""
    rooms = {f"fastmask.{info.name}" for info in pkgutil.iter_modules(fm.__path__) if not info.name.startswith("_")}
    return sorted(rooms | set(MODULES))


@pytest.mark.parametrize("name", modules())
def test_every_module_says_what_it_is_and_what_it_exports(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"needs an extra: {error}")
    assert module.__doc__
    for exported in module.__all__:
        try:
            value = getattr(module, exported)
        except ImportError as error:  # a name that is loaded when first asked for
            print(f"{name}.{exported} needs an extra: {error}")
            continue
        assert _undocumented(value) == [], f"{name}.{exported}"
        assert _untyped(value) == [], f"{name}.{exported}"
        assert _untold(value) == [], f"{name}.{exported}"


def _undocumented(value: object) -> list[str]:
    """A function or a class, and its public methods and properties; constants are told by their module."""
    if not inspect.isclass(value):
        return [value.__name__] if inspect.isroutine(value) and not inspect.getdoc(value) else []
    own = value.__doc__ or f"{value.__name__}("  # as named tuples and dataclasses get without
    members = {name for name, member in vars(value).items() if name[0] != "_" and _is_code(member)}
    return [
        *([value.__name__] if own.startswith(f"{value.__name__}(") else []),
        *(name for name in members if not inspect.getdoc(getattr(value, name))),
    ]


def _is_code(member: object) -> bool:
    return inspect.isroutine(member) or isinstance(member, (property, cached_property))


def _untyped(value: object) -> list[str]:
    """Parameters and results without a type, of a function or of a class's own public methods."""
    if inspect.isclass(value):
        members = {
            name: getattr(value, name) for name in vars(value) if name[0] != "_" or name in ("__init__", "__call__")
        }
    else:
        members = {"": value}
    return [
        f"{name}({parameter})"
        for name, member in members.items()
        if inspect.isfunction(member) and member.__module__.startswith("fastmask")
        for parameter in [*list(inspect.signature(member).parameters)[inspect.isclass(value) :], "return"]
        if parameter not in member.__annotations__ and parameter != "cls"
    ]


def _untold(value: object) -> list[str]:
    """Errors that a function's own body raises, and its documentation, or its class's, does not name."""
    members = vars(value) if inspect.isclass(value) else {"": value}
    functions = [getattr(member, "__func__", member) for name, member in members.items() if not name.startswith("_")]
    if inspect.isclass(value):
        functions += [members[name] for name in ("__init__", "__call__", "__post_init__") if name in members]
    about = inspect.getdoc(value) or ""
    return [
        f"{function.__qualname__}: {error}"
        for function in functions
        if inspect.isfunction(function) and function.__module__.startswith("fastmask")
        if function.__code__.co_filename.endswith(".py")  # dataclasses make some without
        for error in re.findall(r"\braise (\w+Error)\(", inspect.getsource(function))
        if error not in (inspect.getdoc(function) or "") + about
    ]


# ---- the papers ---------------------------------------------------------------------------------------------------


def test_every_version_is_the_same():
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert version[1] == fm.__version__
