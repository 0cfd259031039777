"""What a user lacks is told by the extra that brings it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastmask.errors import MissingExtraError

__all__ = ["EXTRAS", "naming_extras", "the_extra"]

# The smallest extra of pyproject.toml that brings each package.
EXTRAS = {
    "torch": "hf",
    "transformers": "hf",
    "pyarrow": "corpus",
    "datasets": "corpus",
    "fsspec": "corpus",
    "safetensors": "corpus",
    "conllu": "corpus",
    "jinja2": "corpus",
    "tqdm": "corpus",
    "ray": "ray",
    "typer": "cli",
    "rich": "cli",
    "graphviz": "cli",
}


def the_extra(name: str) -> str:
    """What to do to have it."""
    return f"the extra `{name}`: pip install '.[{name}]' in a clone of fastmask"


@contextmanager
def naming_extras() -> Iterator[None]:
    """For imports: MissingExtraError, which is a ModuleNotFoundError, names the extra of a package that is missing."""
    try:
        yield
    except MissingExtraError:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        message = f"{package} is not installed; it comes with {the_extra(EXTRAS[package])}"
        raise MissingExtraError(message, name=error.name) from None
