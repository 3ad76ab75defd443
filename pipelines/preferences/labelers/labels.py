"""A label, and the file that keeps labels: JSON lines, only appended to, each on disk before the next is asked for.

Takes decisions; leaves `labels/<name>.jsonl`. A line torn by a crash is taken off when the file is opened again; any
other line that is no label is reported by file and line. An undone label is followed by a retraction, never erased.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, get_args, runtime_checkable

from pipelines.errors import DataError, RunError
from pipelines.preferences.labelers.comparisons import Comparison

Choice = Literal["first", "second", "tie", "abstain"]
Outcome = Literal["first", "second", "tie", "abstain", "retracted"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a labeler said of one comparison, or that it takes back what it said."""

    comparison: Comparison
    label: Outcome
    seconds: float
    """Wall time it took; of a batch, its share."""
    tokens: int | None = 0
    """Tokens read and written by a model; None where that is unknown or, for a person, means nothing."""
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Whatever explains the decision: tiers, probabilities, the side that was shown first."""


@runtime_checkable
class Labeler(Protocol):
    """The validator, a judge or a person."""

    name: str
    """Names its file in `labels/`."""
    by: dict[str, Any]
    """Who or what decides: a person, or a model and its thresholds. The same for all labels of a file."""

    def decide(self, comparisons: Sequence[Comparison]) -> Iterator[Decision]:
        """Decisions as they are made; a person may stop early or take one back."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """One line of a label file."""

    comparison: str
    task_id: str
    first_index: int
    second_index: int
    label: Outcome
    labeler: str
    by: dict[str, Any]
    when: str
    """UTC, ISO 8601."""
    seconds: float
    tokens: int | None
    detail: dict[str, Any]

    def __post_init__(self) -> None:
        if self.label not in get_args(Outcome):
            raise ValueError(f"label must be one of {', '.join(get_args(Outcome))}, got {self.label!r}")
        if not isinstance(self.comparison, str) or not isinstance(self.seconds, int | float):
            raise ValueError("comparison must be text and seconds a number")
        if not isinstance(self.by, dict) or not isinstance(self.tokens, int | None):
            raise ValueError("by must be a mapping and tokens a whole number or null")


@dataclasses.dataclass(slots=True)
class LabelFile:
    """An open label file; nobody else writes to it meanwhile."""

    stream: BinaryIO
    labels: list[Label]

    def append(self, label: Label) -> None:
        """Write one line; it is on disk when this returns."""
        self.stream.write(json.dumps(dataclasses.asdict(label)).encode() + b"\n")
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.labels.append(label)


@contextlib.contextmanager
def open_labels(path: Path) -> Iterator[LabelFile]:
    """The file for appending, made if need be and mended if torn; RunError while somebody else has it open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of by the kernel, whatever ends the process
        except BlockingIOError:
            raise RunError(
                f"{path} is being written by another process; wait for it or choose another --name"
            ) from None
        stream.seek(0)
        content = stream.read()
        labels, whole = _parse(content, path)
        stream.truncate(whole)
        if whole and content[whole - 1 : whole] != b"\n":
            stream.write(b"\n")
        yield LabelFile(stream=stream, labels=labels)


def read_labels(path: Path) -> list[Label]:
    """Every label and retraction of a file, without changing it; none without a file. DataError for a bad line."""
    return _parse(path.read_bytes(), path)[0] if path.exists() else []


def _parse(content: bytes, path: Path) -> tuple[list[Label], int]:
    """The labels, and how many bytes hold them: without what a crash left after the last line."""
    *lines, tail = content.split(b"\n")
    labels = []
    for number, line in enumerate(lines, start=1):
        try:
            labels.append(Label(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}:{number}: not a label ({error}); remove the line to have its comparison labelled again"
            ) from error
    try:
        return [*labels, Label(**json.loads(tail))], len(content)
    except (ValueError, TypeError):
        return labels, len(content) - len(tail)


def standing(labels: Iterable[Label]) -> dict[str, Label]:
    """Comparison id → the label that holds, oldest first: the last one given, unless it was taken back."""
    current: dict[str, Label] = {}
    for label in labels:
        current.pop(label.comparison, None)
        if label.label != "retracted":
            current[label.comparison] = label
    return current
