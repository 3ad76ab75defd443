"""Samples as they are drawn, on disk before the next are asked for: what was drawn is never drawn again.

Writes batches, a task's at a time, into a folder with a file of JSON lines per process. A line holds a whole batch with
the settings that made it, is appended at once and synced, so that whatever kills the process leaves whole lines and at
most one torn one at the end, which the next start cuts off. What is stored is the truth: it is read back, not drawn
again to be compared. A lock keeps a second run off the folder. The same store serves every phase: the rounds that are
trained on, and evaluation before and after.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipelines.errors import DataError, RunError
from pipelines.records import Sample, from_json, to_json
from pipelines.run.files import write_bytes

_OF_THE_BATCH = ("messages", "decoding")
"""Fields of a sample that its batch's settings hold, once for all of them."""
_UNUSED = "unused"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Samples of one task that were stored together."""

    settings: dict[str, Any]
    """All that decides what is drawn: the policy, the messages, how tokens are drawn, the run's seed."""
    samples: tuple[Sample, ...]

    @property
    def task_id(self) -> str:
        """The task that all of them are for."""
        return self.samples[0].task_id


@contextlib.contextmanager
def locked(folder: Path, process: int = 0) -> Iterator[None]:
    """Hold the folder as one of the run's processes; RunError when another run has that place.

    The lock goes with the process, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".lock-{process:05}")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"{folder} is in use by another process that samples; wait for it, or name another --run"
        ) from None
    try:
        yield
    finally:
        lock.release()


def refuse_others(folder: Path) -> None:
    """RunError when a process of another run, perhaps one that outlived its first, still holds a place of its own.

    To be called by the first process, which holds its place, before the others take theirs.
    """
    for path in sorted(folder.glob(".lock-*")):
        process = int(path.name.removeprefix(".lock-"))
        if process:
            with locked(folder, process):
                pass


def repair(folder: Path) -> int:
    """Cut off what a killed process left of its last line, in each file; returns how many were cut."""
    cut = 0
    for path in _files(folder):
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as stream:
                stream.truncate(whole)
                os.fsync(stream.fileno())
            cut += 1
    return cut


def read_batches(folder: Path) -> Iterator[Batch]:
    """Every stored batch. DataError names file and line of one that is damaged, or that stores a sample twice."""
    return (batch for _, _, batch in numbered_batches(folder))


def numbered_batches(folder: Path) -> Iterator[tuple[Path, int, Batch]]:
    """Every stored batch with its file and its line, from 1; raises as `read_batches`."""
    seen: set[int] = set()
    for path in _files(folder):
        for number, batch in enumerate(_read_file(path), start=1):
            settings = json.dumps(batch.settings, sort_keys=True)
            keys = {hash((settings, sample.task_id, sample.source, sample.index)) for sample in batch.samples}
            if len(keys) < len(batch.samples) or keys & seen:
                raise DataError(f"{path}:{number}: samples of {batch.task_id!r} stand here twice; delete this line")
            seen |= keys
            yield path, number, batch


def read_samples(folder: Path) -> dict[str, list[Sample]]:
    """Task id → its samples, those of one source together and in the order of their indices."""
    found: dict[str, list[Sample]] = {}
    for batch in read_batches(folder):
        found.setdefault(batch.task_id, []).extend(batch.samples)
    for samples in found.values():
        samples.sort(key=lambda sample: (sample.source, sample.index))
    return found


def append(folder: Path, process: int, batch: Batch) -> None:
    """Store a batch for good: when this returns, it outlives the process and the machine's power."""
    path = folder / f"{process:05}.jsonl"
    is_new = not path.exists()
    with path.open("ab") as stream:
        stream.write(_line(batch))
        stream.flush()
        os.fsync(stream.fileno())
    if is_new:
        _sync_folder(folder)


def set_aside(folder: Path, is_wanted: Callable[[Batch], bool]) -> int:
    """Move batches that nobody asks for any more to `unused/`; returns how many samples that were.

    To be called while the folder is held. They are written there before they are taken away here.
    """
    moved = 0
    for path in _files(folder):
        batches = list(_read_file(path))
        others = [batch for batch in batches if not is_wanted(batch)]
        if others:
            aside = folder / _UNUSED / path.name
            earlier = aside.read_bytes() if aside.exists() else b""
            write_bytes(aside, earlier + b"".join(map(_line, others)))
            write_bytes(path, b"".join(_line(batch) for batch in batches if is_wanted(batch)))
            moved += sum(len(batch.samples) for batch in others)
    return moved


def rewrite(folder: Path, change: Callable[[Sample], Sample]) -> Iterator[Sample]:
    """Put a changed sample in the place of every stored one, a file at a time; yields the changed ones."""
    for path in _files(folder):
        batches = [dataclasses.replace(batch, samples=tuple(map(change, batch.samples))) for batch in _read_file(path)]
        write_bytes(path, b"".join(map(_line, batches)))
        for batch in batches:
            yield from batch.samples


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def _read_file(path: Path) -> Iterator[Batch]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            yield _parse(line, f"{path}:{number}")


def _line(batch: Batch) -> bytes:
    rows = [
        {name: value for name, value in to_json(sample).items() if name not in _OF_THE_BATCH}
        for sample in batch.samples
    ]
    return json.dumps({"settings": batch.settings, "samples": rows}).encode() + b"\n"


def _parse(line: bytes, where: str) -> Batch:
    try:
        row = json.loads(line)
        settings = dict(row["settings"])
        shared = {name: settings[name] for name in _OF_THE_BATCH}
        samples = tuple(from_json(Sample, {**sample, **shared}) for sample in row["samples"])
        batch = Batch(settings=settings, samples=samples)
        if {sample.task_id for sample in samples} != {batch.task_id}:
            raise ValueError("not one task's samples")
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise DataError(
            f"{where}: not a batch of samples ({error}); delete this line to draw its samples again"
        ) from error
    return batch


def _sync_folder(folder: Path) -> None:
    """Make the new file's name as durable as its content, where folders can be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
