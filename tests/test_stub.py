"""The stub `_core.pyi`, which the type checker believes, against the signatures that the extension itself tells."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from fastmask import _core

STUB = ast.parse((Path(__file__).parents[1] / "src" / "fastmask" / "_core.pyi").read_text(encoding="utf-8"))
ALIASES = {
    node.targets[0].id: ast.unparse(node.value) for node in STUB.body if isinstance(node, ast.Assign)
}  # _I32 → npt.NDArray[np.int32]
SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+\(.*\) -> .*)$", re.MULTILINE)
Kinds = frozenset[str]


def described() -> dict[tuple[str, str], list[ast.FunctionDef]]:
    """(class or "", name) → its overloads in the stub."""
    found: dict[tuple[str, str], list[ast.FunctionDef]] = {}
    for node in STUB.body:
        for owner, member in (
            [("", node)] if not isinstance(node, ast.ClassDef) else [(node.name, m) for m in node.body]
        ):
            if isinstance(member, ast.FunctionDef):
                found.setdefault((owner, member.name), []).append(member)
    return found


def spoken(owner: str, name: str) -> list[ast.FunctionDef]:
    """Its overloads as pybind11 writes them into docstrings."""
    member = getattr(getattr(_core, owner) if owner else _core, name)
    text = member.fget.__doc__ if isinstance(member, property) else member.__doc__
    signatures = SIGNATURE.findall(re.sub(r"^\(", f"{name}(", text))
    return [ast.parse(f"def {signature}: ...").body[0] for signature in signatures]


def kinds(annotation: ast.expr | None) -> Kinds:
    """What a type admits, in words that both sides share: int32, int, None, list, Engine, …"""
    if isinstance(annotation, ast.BinOp):
        return kinds(annotation.left) | kinds(annotation.right)
    assert annotation is not None
    text = ast.unparse(annotation)
    text = ALIASES.get(text, text)
    array = re.search(r"^(?:npt|numpy|typing)\b.*(?:NDArray\[|ArrayLike, )(?:np|numpy)\.(\w+)", text)
    if array:
        return frozenset([array[1].rstrip("_")])
    if text in ("npt.NDArray[Any]", "numpy.ndarray"):
        return frozenset(["array"])
    numbers = {"typing.SupportsInt": "int", "typing.SupportsFloat": "float", "typing.SupportsIndex": ""}
    text = numbers.get(text, text).replace("collections.abc.Sequence", "list").removeprefix("fastmask._core.")
    return frozenset(filter(None, [text.partition("[")[0]]))


def parameters(overloads: list[ast.FunctionDef]) -> list[tuple[str, Kinds, str]]:
    """Name, kinds over all overloads and default of each parameter but self; the result is the last."""
    first = overloads[0].args
    names = [argument.arg for argument in first.args]
    defaults = [""] * (len(names) - len(first.defaults)) + [ast.unparse(default) for default in first.defaults]
    told = []
    for place, (name, default) in enumerate(zip(names, defaults, strict=True)):
        if name not in ("self", "arg0"):  # as pybind11 calls a property's object
            admitted = [kinds(overload.args.args[place].annotation) for overload in overloads]
            told.append((name, frozenset().union(*admitted), default))
    return [*told, ("return", frozenset().union(*(kinds(overload.returns) for overload in overloads)), "")]


def test_the_stub_names_what_the_extension_has():
    constants = {node.target.id for node in STUB.body if isinstance(node, ast.AnnAssign)}
    classes = {node.name for node in STUB.body if isinstance(node, ast.ClassDef)}
    functions = {name for owner, name in described() if not owner}
    assert constants | classes | functions == {name for name in vars(_core) if not name.startswith("_")}
    for cls in classes:
        members = {name for owner, name in described() if owner == cls} - {"__init__"}
        assert members == {name for name in vars(getattr(_core, cls)) if not name.startswith("_")}, cls


@pytest.mark.parametrize(("owner", "name"), described(), ids=lambda part: part or "_core")
def test_the_stub_tells_the_extension_s_signatures(owner, name):
    """Names, order, defaults, dtypes, None; what tuples and lists hold is told by the stub alone."""
    ours, theirs = described()[owner, name], spoken(owner, name)
    pairs = zip(ours, ([each] for each in theirs), strict=True) if len(ours) > 1 else [(ours[0], theirs)]
    for one, others in pairs:
        told, true = parameters([one]), parameters(others)
        assert [(n, d) for n, _, d in told] == [(n, d) for n, _, d in true]
        for (argument, stated, _), (_, admitted, _) in zip(told, true, strict=True):
            arrays = {"uint16", "uint32", "uint64", "array"}
            assert stated == admitted or (stated == {"array"} and admitted <= arrays), argument
