"""What labelers label, what they say, and the file that keeps it.

Reads a run's tasks, completions and pairs for comparisons; writes `labels/<name>.jsonl`. Comparisons are the same for
every labeler, in an order that depends on the seed alone: the run's own pairs alternate with couples drawn from all
completions, so that ties can occur and the verifier is not right by construction, and any beginning of the list is
such a mixture. Label files are only appended to, each line on disk before the next decision is asked for. A line torn
by a crash is taken off when the file is opened again; any other line that is no label is reported by file and line. An
undone label is followed by a retraction, never erased. No model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, get_args, runtime_checkable

import pyarrow.parquet
from tqdm import tqdm

from pipelines import seeds
from pipelines.errors import ConfigError, DataError, RunError
from pipelines.records import Sample, Task
from pipelines.run.folder import Run
from pipelines.samples.store import read_samples

Choice = Literal["first", "second", "tie", "abstain"]
Outcome = Literal["first", "second", "tie", "abstain", "retracted"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
IndexPair = tuple[str, int, int]
"""Task id and the indices of two of its completions, the smaller first."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two completions of one task with different texts, in an order that says nothing about which is better."""

    task: Task
    first: Sample
    second: Sample

    @property
    def id(self) -> str:
        """16 hexadecimal digits that change when the request, an index, a text or an ending does."""
        sides = [[side.index, side.completion, side.finish_reason] for side in (self.first, self.second)]
        return hashlib.sha256(json.dumps([self.task.id, self.task.request, *sides]).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a labeler said of one comparison, or that it takes back what it said."""

    comparison: Comparison
    label: Outcome
    seconds: float
    """Wall time it took."""
    tokens: int | None = 0
    """Tokens read and written by a model; None where that is unknown or, for a person, means nothing."""
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Whatever explains the decision: tiers, a model's answers, the side that was shown first."""


@runtime_checkable
class Labeler(Protocol):
    """The verifier, a judge or a person."""

    name: str
    """Names its file in `labels/`."""
    settings: dict[str, Any]
    """Who or what decides: a person, a model, an option. The same for all labels of a file."""

    def decide(self, comparisons: Sequence[Comparison]) -> Iterator[Decision]:
        """Decisions as they are made; a person may stop early or take one back."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """One line of a label file."""

    comparison: str
    """Its id, which covers both texts: labels of other samples never count for it."""
    task_id: str
    first_index: int
    second_index: int
    label: Outcome
    labeler: str
    settings: dict[str, Any]
    """The labeler's."""
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
        if not isinstance(self.settings, dict) or not isinstance(self.tokens, int | None):
            raise ValueError("settings must be an object and tokens a whole number or null")


# --- what is compared ---------------------------------------------------------------------------------------------


def load_comparisons(run: Run, seed: int, count: int | None = None) -> Iterator[Comparison]:
    """The first so many comparisons of a run, or all, in labelling order; needs the samples and the dataset.

    DataError, at once, when there is nothing to compare. The texts are read one comparison at a time.
    """
    last = run.last
    samples = read_samples(last.require(last.samples, "sample"))
    folder = last.require(last.dataset, "pair") / "pairs"
    tasks = run.index_tasks()
    couples = choose_couples(tasks, samples, _read_pairs(folder), seed)
    if not couples:
        raise DataError(f"{last.samples}: no task has two different texts to compare; sample more per task")
    return (compare(tasks[couple[0]], samples[couple[0]], couple, seed) for couple in couples[:count])


def choose_couples(
    tasks: Iterable[str], samples: Mapping[str, Sequence[Sample]], pairs: Iterable[IndexPair], seed: int
) -> list[IndexPair]:
    """The couples in `pairs` alternating with one drawn couple per task, each kind in random order.

    A drawn couple differs in text from each other and from the pairs, and both sides ended by themselves. `tasks` are
    ids. DataError when a pair names a completion that is not there.
    """
    paired = sorted(set(pairs))
    texts: set[int] = set()
    for task_id, own in itertools.groupby(paired, lambda couple: couple[0]):
        rows = {sample.index: sample.completion for sample in samples.get(task_id, ())}
        for _, *indices in own:
            if not set(indices) <= rows.keys():
                raise DataError(
                    f"the dataset's pairs name a completion {indices} of {task_id!r} that is not in the samples; "
                    "run `attend-and-prefer pair` again"
                )
            texts.add(_hash_texts(*(rows[index] for index in indices)))
    drawn = [couple for task_id in tasks for couple in _draw(task_id, samples.get(task_id, ()), texts, seed)]
    rng = seeds.rng(seed, "comparisons")
    rng.shuffle(paired)
    rng.shuffle(drawn)
    return [couple for two in itertools.zip_longest(paired, drawn) for couple in two if couple]


def _hash_texts(*texts: str) -> int:
    """The same for the same texts in any order; in place of the texts, which may be many."""
    return hash(frozenset(texts))


def _draw(task_id: str, samples: Iterable[Sample], taken: set[int], seed: int) -> Iterator[IndexPair]:
    """One couple of the task, if it has one that is not taken."""
    distinct: dict[str, int] = {}
    for sample in sorted(samples, key=lambda sample: sample.index):
        if sample.finish_reason == "stop":
            distinct.setdefault(sample.completion, sample.index)
    couples = [
        (task_id, one, other)
        for (text, one), (other_text, other) in itertools.combinations(distinct.items(), 2)
        if _hash_texts(text, other_text) not in taken
    ]
    if couples:
        yield seeds.rng(seed, f"{task_id}/comparisons").choice(couples)


def compare(task: Task, samples: Iterable[Sample], couple: IndexPair, seed: int) -> Comparison:
    """The couple of a task's samples as a comparison."""
    rows = {sample.index: sample for sample in samples}
    _, one, other = couple
    swap = seeds.rng(seed, f"{couple}/order").random() < 0.5
    first, second = (other, one) if swap else (one, other)
    return Comparison(task=task, first=rows[first], second=rows[second])


def _read_pairs(folder: Path) -> Iterator[IndexPair]:
    """The pairs of a dataset folder, of all splits, without saying which side was chosen."""
    for file in sorted(folder.glob("*.parquet")):
        table = pyarrow.parquet.read_table(file, columns=["task_id", "chosen_index", "rejected_index"])
        for row in table.to_pylist():
            one, other = sorted((row["chosen_index"], row["rejected_index"]))
            yield row["task_id"], one, other


# --- the file of labels -------------------------------------------------------------------------------------------


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
    """The file for appending, made if need be and repaired if torn; RunError while somebody else has it open."""
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


def current_labels(labels: Iterable[Label]) -> dict[str, Label]:
    """Comparison id → the label that holds, oldest first: the last one given, unless it was taken back."""
    current: dict[str, Label] = {}
    for label in labels:
        current.pop(label.comparison, None)
        if label.label != "retracted":
            current[label.comparison] = label
    return current


def label_missing(
    run: Run, labeler: Labeler, comparisons: Sequence[Comparison], *, show_progress: bool = True
) -> dict[str, Any]:
    """Have those of the comparisons labelled that are not; returns the counts of all of them.

    RunError when the file holds labels made with other settings. A person sees the count in the question; a bar would
    run through it.
    """
    path = label_path(run, labeler.name)
    with open_labels(path) as file:
        _refuse_other(path, labeler, file)
        held = current_labels(file.labels)
        missing = [comparison for comparison in comparisons if comparison.id not in held]
        hidden = None if show_progress else True  # None: shown on a terminal
        with tqdm(total=len(missing), desc=labeler.name, unit="label", disable=hidden) as progress:
            for decision in labeler.decide(missing):
                file.append(_label(labeler, decision))
                progress.update()
        held = current_labels(file.labels)
    labels = [held[comparison.id].label for comparison in comparisons if comparison.id in held]
    counts: dict[str, int] = {choice: labels.count(choice) for choice in CHOICES}
    return {"comparisons": len(comparisons), "new": max(0, len(labels) - len(comparisons) + len(missing)), **counts}


def labelled_before(run: Run, name: str, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those of the comparisons that the file of this name has a label for, oldest label first."""
    known = {comparison.id: comparison for comparison in comparisons}
    return [known[id_] for id_ in current_labels(read_labels(label_path(run, name))) if id_ in known]


def label_path(run: Run, name: str) -> Path:
    """The label file of a labeler; ConfigError for a name that is none for a file."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(f"--name must be letters, digits, dots, dashes and underscores, got {name!r}; choose another")
    return run.labels / f"{name}.jsonl"


def name_after(kind: str, who: str) -> str:
    """A labeler's name from its kind and a person's or model's name, fit for a file."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9._-]+', '-', who).strip('-.') or 'unnamed'}"[:100]


def _label(labeler: Labeler, decision: Decision) -> Label:
    comparison = decision.comparison
    return Label(
        comparison=comparison.id,
        task_id=comparison.task.id,
        first_index=comparison.first.index,
        second_index=comparison.second.index,
        label=decision.label,
        labeler=labeler.name,
        settings=labeler.settings,
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        seconds=round(decision.seconds, 6),
        tokens=decision.tokens,
        detail=decision.detail,
    )


def _refuse_other(path: Path, labeler: Labeler, file: LabelFile) -> None:
    for label in file.labels:
        if label.settings != labeler.settings:
            keys = label.settings.keys() | labeler.settings.keys()
            key = min(key for key in keys if label.settings.get(key) != labeler.settings.get(key))
            raise RunError(
                f"{path} holds labels made with {key} {label.settings.get(key)!r}, not {labeler.settings.get(key)!r}; "
                "choose another --name"
            )
