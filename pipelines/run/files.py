"""Writes that are whole or absent, values that stay on disk, hashes. Knows bytes and paths, not what is in them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

Place = TypeVar("Place")
Value = TypeVar("Value")


class Stored(Mapping[str, Value], Generic[Place, Value]):
    """Values by name, each read from where it stands when it is asked for. Names and places alone are in memory."""

    def __init__(self, places: Mapping[str, Place], read: Callable[[Place], Value]) -> None:
        """`read` gives the value of a place."""
        self._places, self._read = places, read

    def __getitem__(self, name: str) -> Value:
        return self._read(self._places[name])

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that is there when the block ends well: readers see all of it or none, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file as `new_file` does."""
    with new_file(path) as stream:
        stream.write(content)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for text, as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`write_text` for a JSON value, indented, keys in the order given, never NaN."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        # The old folder is set aside first, so that a kill between the two steps loses neither.
        aside = temporary.with_name(f"{temporary.name}.old")
        if path.exists():
            path.replace(aside)
        temporary.replace(path)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_files(root: Path, names: Sequence[str]) -> dict[str, str] | None:
    """Relative path → SHA-256 for files and whole folders under `root`; None when one of them is missing."""
    hashes: dict[str, str] = {}
    for name in names:
        path = root / name
        files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            return None
        hashes |= {file.relative_to(root).as_posix(): file_sha256(file) for file in files}
    return hashes
