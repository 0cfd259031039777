"""Paths, globs, folders and URLs → the files of a corpus, in order; and their bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
from fsspec.core import has_magic, url_to_fs

from fastmask.errors import CorpusError

__all__ = ["Source", "find_sources"]

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".txt": "text",
    ".conllu": "conllu",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
DATASET = "dataset"  # a folder from `Dataset.save_to_disk`

# The standard library's give every byte up to the place where a file breaks off; zstd is in Python from 3.14 only.
DECOMPRESSORS: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": lambda file: io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"), 1 << 16),
}
STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class Source:
    """One file of a corpus, or one saved dataset."""

    name: str
    """As messages show it: a local path, or a URL."""
    format: str
    size: int
    """Bytes as they lie in the store; 0 where it does not tell."""
    stamp: str
    """What the store says about its version: an ETag, or when it changed."""
    path: str = field(repr=False)
    fs: fsspec.AbstractFileSystem = field(repr=False, compare=False)

    def open(self) -> Watched:
        """Its bytes as they lie, to be read and sought in.

        Raises:
            CorpusError: the store does not give them.
        """
        try:
            return Watched(self.name, self.fs.open(self.path, "rb"))
        except Exception as error:
            raise CorpusError(f"{self.name} cannot be opened: {error}") from error

    def decompress(self, stored: Watched) -> BinaryIO:
        """``stored`` without its compression, which the last suffix names."""
        buffered = io.BufferedReader(stored, 1 << 20)
        decompressor = DECOMPRESSORS.get(PurePosixPath(self.path).suffix.lower())
        unpacked: BinaryIO = decompressor(buffered) if decompressor else buffered
        return unpacked


class Watched(io.RawIOBase):
    """A file whose store is watched: what the *store* fails at ends the run, whatever is done about broken records.

    So every other error that a reader meets means that the bytes themselves are broken, and a network that is down for
    a moment never counts as a broken file that may be left out.
    """

    def __init__(self, name: str, file: Any) -> None:
        self.name, self._file = name, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:
            raise CorpusError(f"{self.name} cannot be read any further: {error}") from error
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def find_sources(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], format: str | None) -> list[Source]:
    """The files that ``paths`` mean: in the order given, and by name within a glob or a folder.

    In a folder, names that begin with a dot or an underscore are left alone; every other file is a part of the corpus.

    Raises:
        CorpusError: nothing is there; a file's format is unknown; a file is named twice; the store cannot be reached.
    """
    if format not in {None, DATASET, *FORMATS.values()}:
        raise CorpusError(f"format={format!r} is unknown: it must be one of {', '.join(_all_formats())}")
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    sources = [source for path in given for source in _expanded(os.fspath(path), format)]
    if not sources:
        raise CorpusError("no files were given: name at least one path, glob, folder or URL")
    seen: set[str] = set()
    for source in sources:
        if source.name in seen:
            raise CorpusError(f"{source.name} is named twice: its records would be read twice")
        seen.add(source.name)
    return sources


def _expanded(path: str, format: str | None) -> Iterator[Source]:
    try:
        fs, inner = url_to_fs(path)
        files = list(_files(fs, inner))
    except CorpusError:
        raise
    except Exception as error:  # an unknown protocol, a missing package, credentials, the network
        raise CorpusError(f"{path} cannot be listed: {error}") from error
    if not files:
        raise CorpusError(f"{path}: there is no such file, and no glob or folder that holds one")
    for file in files:
        yield _source(fs, file, format)


def _files(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[str]:
    if fs.isfile(path):
        yield path
    elif fs.isdir(path):
        yield from _folder(fs, path)
    elif has_magic(path):
        for match in sorted(fs.glob(path)):
            yield from _files(fs, match)


def _folder(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[str]:
    if fs.exists(f"{path}/dataset_dict.json"):
        raise CorpusError(f"{path} holds several splits of a dataset: name one of its folders, such as {path}/train")
    if fs.exists(f"{path}/state.json"):
        yield path
        return
    for file in sorted(fs.find(path)):
        parts = PurePosixPath(file).relative_to(path).parts
        if not any(part.startswith((".", "_")) for part in parts):
            yield file


def _source(fs: fsspec.AbstractFileSystem, path: str, format: str | None) -> Source:
    local = "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))
    name = path if local else fs.unstrip_protocol(path)
    if fs.isdir(path):
        info, size, format = fs.info(f"{path}/state.json"), fs.du(path), format or DATASET
    else:
        info = fs.info(path)
        size, format = info["size"] or 0, format or _format(name)
    stamp = next((str(info[key]) for key in STAMPS if info.get(key) is not None), "")
    return Source(name, format, size, stamp, path, fs)


def _format(name: str) -> str:
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    compressed = bool(suffixes) and suffixes[-1] in DECOMPRESSORS
    format = FORMATS.get("".join(suffixes[-1 - compressed : len(suffixes) - compressed]))
    if format is None or (compressed and format in {"parquet", "arrow"}):
        raise CorpusError(
            f"{name}: the format cannot be told from the name: give format= one of {', '.join(_all_formats())}, "
            "or leave the file out with a glob such as folder/*.jsonl"
        )
    return format


def _all_formats() -> list[str]:
    return [*dict.fromkeys(FORMATS.values()), DATASET]
