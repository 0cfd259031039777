"""What of fastmask is public, read from its source: nothing is imported, so that nothing need be installed."""

import ast
import re
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"

# The modules that the reference is about; tests/test_docs_reference.py holds its pages to their `__all__`.
MODULES = (
    "fastmask",
    "fastmask.torch",
    "fastmask.hf",
    "fastmask.hf.continuous_batching",
    "fastmask.corpus",
    "fastmask.corpus.ray",
    "fastmask.vllm.v1",
    "fastmask.vllm.v2",
    "fastmask.on_device",
)

# What docstrings refer to a name by.
ROLE = re.compile(r":(?:meth|func|class|mod|data|attr):`~?([^`]+)`")

Definition = ast.ClassDef | ast.FunctionDef | ast.AnnAssign


def exported(module: str) -> list[str]:
    """The module's `__all__`."""
    return next(ast.literal_eval(node.value) for node in tree(module).body if _assigns(node, "__all__"))


def split(path: str) -> tuple[str, str]:
    """``fastmask.torch.penalize`` → its module and its name in there; a module has no name."""
    for cut in range(len(parts := path.split(".")), 0, -1):
        if _file(module := ".".join(parts[:cut])):
            return module, ".".join(parts[cut:])
    raise ValueError(f"{path} is nowhere below {SOURCE}")


def definition(module: str, name: str) -> tuple[str, Definition]:
    """Where a name that the module has was defined, and how; imports for type checkers alone count, too."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
            return module, node
        for alias in node.names if isinstance(node, ast.ImportFrom) and node.module else ():
            if name == (alias.asname or alias.name):
                return definition(node.module, alias.name)
    raise ValueError(f"{module} defines no {name}")


def docstring(module: str, node: ast.AST) -> str:
    """That of a class, a function or a method; of a variable the string that stands behind it."""
    if not isinstance(node, ast.AnnAssign):
        return ast.get_docstring(node) or ""
    body = tree(module).body
    behind = body[body.index(node) + 1]
    return ast.literal_eval(behind.value) if isinstance(behind, ast.Expr) else ""


def members(module: str, node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    """The class's methods and properties, those of its bases in this package last."""
    found = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    for base in map(ast.unparse, node.bases):
        try:
            where, parent = definition(module, base)
        except ValueError:
            continue  # of another package
        found = {**found, **{name: each for name, each in members(where, parent).items() if name not in found}}
    return found


@cache
def tree(module: str) -> ast.Module:
    path = _file(module)
    return ast.parse(path.read_text(encoding="utf-8")) if path else ast.Module([], [])


def _file(module: str) -> Path | None:
    path = SOURCE.joinpath(*module.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"), path.with_suffix(".pyi"))
    return next((each for each in candidates if each.is_file()), None)


def _assigns(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(ast.unparse(target) == name for target in targets)
