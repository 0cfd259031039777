"""``fastmask annotate --engine ray``: the same step on a Ray cluster, which reads and writes by itself."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from fsspec.core import url_to_fs

from fastmask.corpus.annotator import Annotator
from fastmask.errors import InputError
from fastmask.extras import naming_extras

__all__ = ["annotate_on_ray"]

_FORMATS = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


def annotate_on_ray(corpus: list[str], file_format: str, annotator: Annotator, out: str) -> int:
    """Annotate files that Ray Data reads (Parquet, JSONL, CSV) into Parquet files in ``out``; records written.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: a format that it is not asked to read here, or ``out`` has Parquet files.
    """
    store, folder = url_to_fs(out)
    if store.glob(f"{folder}/*.parquet"):
        raise InputError(f"{out} has Parquet files already, and Ray would add its own: empty it or give another folder")
    with naming_extras():
        import ray

        from fastmask.corpus.ray import annotate_with_ray

    annotated = annotate_with_ray(_read(ray.data, corpus, file_format), annotator).materialize()
    annotated.write_parquet(out)
    return int(annotated.count())


def _read(data: Any, corpus: list[str], file_format: str) -> Any:
    formats = {file_format or _FORMATS.get(PurePosixPath(file).suffix, "") for file in corpus}
    readers = {"parquet": data.read_parquet, "jsonl": data.read_json, "csv": data.read_csv}
    if len(formats) != 1 or not formats <= set(readers):
        raise InputError(
            f"--engine ray reads files of one format, {', '.join(readers)}; got {', '.join(sorted(formats)) or 'none'}"
            " (say --format, or leave the engine to fastmask)"
        )
    return readers[formats.pop()](corpus)
