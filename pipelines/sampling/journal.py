"""Completions as they are drawn, on disk before the next are asked for: what was drawn is never drawn again.

Takes batches, a task's at a time; leaves `samples/journal/`, a file of JSON lines per process. A line holds a whole
batch with the settings that made it, is appended at once and synced, so that whatever kills the process leaves whole
lines and at most one torn one at the end, which the next start cuts off. What is stored is the truth: it is read back,
not drawn again to be compared. A lock keeps a second run off the folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipelines.errors import DataError, RunError
from pipelines.records import Completion, from_json, to_json


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Completions of one task that were stored together."""

    settings: dict[str, Any]
    """All that decides what is drawn: the policy, the messages, how tokens are drawn, the run's seed."""
    completions: tuple[Completion, ...]

    @property
    def task_id(self) -> str:
        """The task that all of them are for."""
        return self.completions[0].task_id


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


def read(folder: Path) -> list[Batch]:
    """Every stored batch. DataError names file and line of one that is damaged, or that stores a sample twice."""
    batches: list[Batch] = []
    seen: set[tuple[str, str, int]] = set()
    for path in _files(folder):
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            batch = _parse(line, f"{path}:{number}")
            settings = json.dumps(batch.settings, sort_keys=True)
            keys = {(settings, completion.task_id, completion.index) for completion in batch.completions}
            if len(keys) < len(batch.completions) or keys & seen:
                raise DataError(f"{path}:{number}: samples of {batch.task_id!r} stand here twice; delete this line")
            seen |= keys
            batches.append(batch)
    return batches


def append(folder: Path, process: int, batch: Batch) -> None:
    """Store a batch for good: when this returns, it outlives the process and the machine's power."""
    row = {"settings": batch.settings, "completions": [to_json(completion) for completion in batch.completions]}
    path = folder / f"{process:05}.jsonl"
    is_new = not path.exists()
    with path.open("ab") as stream:
        stream.write(json.dumps(row).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    if is_new:
        _sync_folder(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def _parse(line: bytes, where: str) -> Batch:
    try:
        row = json.loads(line)
        completions = tuple(from_json(Completion, completion) for completion in row["completions"])
        batch = Batch(settings=dict(row["settings"]), completions=completions)
        if {completion.task_id for completion in completions} != {batch.task_id}:
            raise ValueError("not one task's completions")
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise DataError(
            f"{where}: not a batch of completions ({error}); delete this line to draw its samples again"
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
