"""The package as a whole: what it imports, what it exports, and that its papers tell the truth."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastmask as fm
from tools import readme

ROOT = Path(__file__).parents[1]
HEAVY = ["torch", "transformers", "outlines_core", "pydantic", "tokenizers", "datasets", "pyarrow", "tqdm"]


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
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
    return [f"fastmask.{info.name}" for info in pkgutil.iter_modules(fm.__path__) if not info.name.startswith("_")]


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
        assert inspect.getdoc(value) or not callable(value), f"{name}.{exported} has no docstring"


def test_everything_public_on_a_constraint_is_documented():
    for cls in (fm.Constraint, fm.Vocabulary):
        for name, member in vars(cls).items():
            if not name.startswith("_"):
                assert inspect.getdoc(member), f"{cls.__name__}.{name}"


# ---- the stub of the extension ------------------------------------------------------------------------------------


def stub() -> dict[str, set[str]]:
    """Names at the stub's top level (under "") and in each of its classes."""
    tree = ast.parse((ROOT / "src" / "fastmask" / "_core.pyi").read_text(encoding="utf-8"))
    names = {"": {_name(node) for node in tree.body} - {None}}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names[node.name] = {_name(member) for member in node.body} - {None}
    return names


def _name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.AnnAssign):
        return node.target.id
    name = getattr(node, "name", None)  # functions and classes; imports and type aliases have none
    return None if name == "__init__" else name


def test_the_stub_names_what_the_extension_has():
    from fastmask import _core

    described = stub()
    assert described.pop("") == {name for name in vars(_core) if not name.startswith("_")}
    for cls, names in described.items():
        assert names == {name for name in vars(getattr(_core, cls)) if not name.startswith("_")}, cls


# ---- the papers ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")  # of a Trainer's loaders, without a GPU
def test_the_readme_s_code_runs(monkeypatch, tmp_path, bpe):
    """Block after block, in one namespace, as a reader would type them; names of models stand for the test's own."""
    blocks = readme.blocks("python")
    assert blocks
    transformers = pytest.importorskip("transformers")
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), bpe.eos)
    config = transformers.GPT2Config(vocab_size=640, n_embd=32, n_layer=1, n_head=2, **special)
    model = transformers.GPT2LMHeadModel(config).eval()
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: bpe.tokenizer)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: model)
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"README.md, block {number}", "exec", dont_inherit=True), namespace)


def test_every_version_is_the_same():
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert version[1] == fm.__version__
