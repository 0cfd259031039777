"""The reference is whole, and what programs write of it is what the code says."""

from __future__ import annotations

import importlib
import inspect
import re
from operator import attrgetter

import pytest

from fastmask.errors import MissingExtraError
from tests.pages import ROOT
from tools import public_api, reference

DOCS = ROOT / "docs"


def test_the_reference_has_every_public_name():
    """Each once, in the order of nobody."""
    told = [
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    whole = {"fastmask.torch", "fastmask.vllm"}  # whose own docstrings begin their pages
    names = {f"{module}.{name}" for module in public_api.MODULES for name in public_api.exported(module)}
    assert set(told) - whole == names
    assert len(told) == len(set(told))


REFERENCE = [page for page in (DOCS / "reference").glob("*.md") if ":::" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.name)
def test_the_tables_of_the_reference_are_the_code_s(page):
    written = page.read_text(encoding="utf-8")
    assert written == reference.written(written), "python -m tools.reference writes it anew"


@pytest.mark.parametrize("module", ["fastmask", "fastmask.torch", "fastmask.hf", "fastmask.corpus"])
def test_the_told_arguments_are_those_that_python_sees(module):
    """The tool reads source; this asks the objects themselves."""
    told = "".join(page.read_text(encoding="utf-8") for page in REFERENCE)
    room, checked = pytest.importorskip(module), 0
    for path, arguments in re.findall(rf"\(#{module}\.([\w.]+)\)`\((.*?)\)` \|", told):
        if path.partition(".")[0] in room.__all__ and not path.endswith(("Error", "Warning")):
            try:
                parameters = inspect.signature(attrgetter(path)(room)).parameters
            except MissingExtraError:  # a part of a module may need more than the module
                continue
            names = re.findall(r"(?:^|, )\**(\w+)", arguments)
            assert names == [name for name in parameters if name != "self"], path
            checked += 1
    assert checked >= 10


def test_the_command_line_s_page_is_the_program_s():
    pytest.importorskip("typer")
    cli_reference = importlib.import_module("tools.cli_reference")
    written = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    assert written == cli_reference.page(), "python tools/cli_reference.py writes it anew"
