"""Samples as they are drawn, on disk before the next are asked for: what was drawn is never drawn again.

Writes batches, a task's at a time, into a folder with a file of JSON lines per process. A line holds a whole batch with
the settings that made it, is appended at once and synced, so that whatever kills the process leaves whole lines and at
most one torn one at the end, which the next start cuts off. What is stored is the truth: it is read back, not drawn
again to be compared. A lock keeps a second run off the folder. The same store serves every phase: the rounds that are
trained on, and evaluation before and after. It is read a line at a time, and may be larger than memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from filelock import FileLock, Timeout

from pipelines.errors import DataError, RunError
from pipelines.records import Sample, Source, from_json, to_json
from pipelines.run.files import Stored, new_file

_OF_THE_BATCH = ("messages", "decoding")
"""Fields of a sample that its batch's settings hold, once for all of them."""
_UNUSED = "unused"
_CHUNK = 2**16
"""Bytes."""


class Line(NamedTuple):
    """Where a batch is stored."""

    file: Path
    number: int
    """From 1."""
    start: int
    """The byte that it begins at."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Samples of one task from one source that were stored together."""

    settings: dict[str, Any]
    """All that decides what is drawn: the policy, the messages, how tokens are drawn, the run's seed."""
    samples: tuple[Sample, ...]

    @property
    def task_id(self) -> str:
        """The task that all of them are for."""
        return self.samples[0].task_id

    @property
    def source(self) -> Source:
        """How all of them were come by."""
        return self.samples[0].source


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
        with path.open("r+b") as stream:
            whole = _whole_bytes(stream)
            if whole < stream.seek(0, os.SEEK_END):
                stream.truncate(whole)
                os.fsync(stream.fileno())
                cut += 1
    return cut


def _whole_bytes(stream: BinaryIO) -> int:
    """How many bytes of a file are whole lines."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _CHUNK)
        stream.seek(start)
        newline = stream.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def read_batches(folder: Path) -> Iterator[Batch]:
    """Every stored batch. DataError names file and line of one that is damaged, or that stores a sample twice."""
    return (batch for _, batch in placed_batches(folder))


def placed_batches(folder: Path) -> Iterator[tuple[Line, Batch]]:
    """Every stored batch with where it stands; raises as `read_batches`."""
    seen: dict[int, frozenset[int]] = {}
    equal: dict[frozenset[int], frozenset[int]] = {}  # most tasks have the same indices: held once
    for path in _files(folder):
        for line, batch in _read_file(path):
            name = hash((json.dumps(batch.settings, sort_keys=True), batch.task_id, batch.source))
            known, indices = seen.get(name, frozenset()), frozenset(sample.index for sample in batch.samples)
            if len(indices) < len(batch.samples) or known & indices:
                raise DataError(
                    f"{path}:{line.number}: samples of {batch.task_id!r} stand here twice; delete this line"
                )
            indices |= known
            seen[name] = equal.setdefault(indices, indices)
            yield line, batch


def read_samples(folder: Path) -> Mapping[str, list[Sample]]:
    """Task id → its samples, those of one source together and in the order of their indices; raises as `read_batches`.

    A task's samples are read when they are asked for, each time. In memory is where they stand.
    """
    files = _files(folder)
    numbers = {file: number for number, file in enumerate(files)}
    places: dict[str, tuple[tuple[int, int], ...]] = {}
    for line, batch in placed_batches(folder):
        places[batch.task_id] = (*places.get(batch.task_id, ()), (numbers[line.file], line.start))

    def read(place: tuple[tuple[int, int], ...]) -> list[Sample]:
        samples: list[Sample] = []
        for number, start in place:
            with files[number].open("rb") as stream:
                stream.seek(start)
                samples += _parse(stream.readline(), f"{files[number]}, byte {start}").samples
        return sorted(samples, key=lambda sample: (sample.source, sample.index))

    return Stored(places, read)


@dataclasses.dataclass(slots=True)
class Held:
    """What a store holds, without the texts: per source and task which samples, and how many of them pass."""

    counts: dict[Source, dict[str, tuple[frozenset[int], int]]] = dataclasses.field(default_factory=dict)
    tokens: int = 0
    cut_off: int = 0
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)
    """Why those that failed did."""
    _equal: dict[frozenset[int], frozenset[int]] = dataclasses.field(default_factory=dict)
    """Most tasks have the same indices: these are held once."""

    @classmethod
    def read(cls, folder: Path) -> Held:
        """Of all that is stored."""
        held = cls()
        for batch in read_batches(folder):
            held.add(batch)
        return held

    def add(self, batch: Batch) -> None:
        """Count a batch in."""
        own = self.counts.setdefault(batch.source, {})
        indices, passed = own.get(batch.task_id, (frozenset(), 0))
        indices |= {sample.index for sample in batch.samples}
        passed += sum(sample.verdict.passed for sample in batch.samples)
        own[batch.task_id] = self._equal.setdefault(indices, indices), passed
        self.tokens += sum(sample.completion_tokens - sample.prefix_tokens for sample in batch.samples)
        self.cut_off += sum(sample.finish_reason == "length" for sample in batch.samples)
        self.reasons.update(one.verdict.reason or "wrong" for one in batch.samples if not one.verdict.passed)

    @property
    def samples(self) -> int:
        """How many there are."""
        return sum(len(indices) for own in self.counts.values() for indices, _ in own.values())

    def passed(self, task_id: str, source: Source | None = None) -> int:
        """How many of a task's samples pass, those from one source or all."""
        asked = self.counts if source is None else [source]
        return sum(self.counts.get(one, {}).get(task_id, (frozenset(), 0))[1] for one in asked)

    def missing(self, task_id: str, source: Source, indices: range) -> list[range]:
        """The indices to draw, in unbroken runs: a damaged store may have lost some in the middle."""
        have, _ = self.counts.get(source, {}).get(task_id, (frozenset(), 0))
        lacking = [index for index in indices if index not in have]
        breaks = [place for place in range(1, len(lacking)) if lacking[place] != lacking[place - 1] + 1]
        edges = [0, *breaks, len(lacking)]
        return [range(lacking[first], lacking[last - 1] + 1) for first, last in itertools.pairwise(edges) if lacking]

    def failures(self) -> str:
        """The commonest reasons in words, with the samples that are cut off."""
        common = [f"{count} {reason.replace('_', ' ')}" for reason, count in self.reasons.most_common(3)]
        return ", ".join([f"of {self.samples} samples {self.cut_off} are cut off", *common])

    def facts(self) -> dict[str, Any]:
        """Counts, and what a thousand sampled tokens yielded: tasks with both kinds, which is what pairs need."""
        places = [place for own in self.counts.values() for place in own.values()]
        both = sum(0 < passed < len(indices) for indices, passed in places)
        return {
            "tasks": len(set().union(*self.counts.values())),
            "completions": self.samples,
            "passed": sum(passed for _, passed in places),
            "tokens": self.tokens,
            "tasks_with_both_kinds": both,
            "tasks_with_both_kinds_per_1000_tokens": round(1000 * both / max(1, self.tokens), 2),
        }


def append(folder: Path, process: int, batch: Batch) -> None:
    """Store a batch for good: when this returns, it outlives the process and the machine's power."""
    path = folder / _name(process)
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
    unwanted: dict[Path, set[int]] = {}
    for line, batch in placed_batches(folder):
        if not is_wanted(batch):
            unwanted.setdefault(line.file, set()).add(line.start)
            moved += len(batch.samples)
    for path, starts in unwanted.items():
        aside = folder / _UNUSED / path.name
        with new_file(aside) as file:
            if aside.exists():
                with aside.open("rb") as earlier:
                    shutil.copyfileobj(earlier, file)
            file.writelines(line for start, line in _lines(path) if start in starts)
        with new_file(path) as file:
            file.writelines(line for start, line in _lines(path) if start not in starts)
    return moved


def replace(folder: Path, batches: Iterable[Batch]) -> None:
    """Set aside all that is stored, and store these batches instead. To be called while the folder is held."""
    set_aside(folder, lambda batch: False)
    with new_file(folder / _name(0)) as file:
        file.writelines(map(_line, batches))


def rewrite(folder: Path, change: Callable[[Sample], Sample]) -> Iterator[Sample]:
    """Put a changed sample in the place of every stored one, a file at a time; yields the changed ones."""
    for path in _files(folder):
        with new_file(path) as file:
            for _, batch in _read_file(path):
                changed = dataclasses.replace(batch, samples=tuple(map(change, batch.samples)))
                file.write(_line(changed))
                yield from changed.samples


def _name(process: int) -> str:
    return f"{process:05}.jsonl"


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(byte that it begins at, line)."""
    start = 0
    with path.open("rb") as lines:
        for line in lines:
            yield start, line
            start += len(line)


def _read_file(path: Path) -> Iterator[tuple[Line, Batch]]:
    for number, (start, line) in enumerate(_lines(path), start=1):
        yield Line(path, number, start), _parse(line, f"{path}:{number}")


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
        if {(sample.task_id, sample.source) for sample in samples} != {(batch.task_id, batch.source)}:
            raise ValueError("not one task's samples from one source")
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
