"""Verdicts anew, and for completions that were made elsewhere.

Reads a round's store, or a file of somebody's completions; writes verified samples into the store. A run never
needs this, since samples are verified as they are drawn: it is for files of others, and for tasks changed by hand.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.config import Config
from pipelines.errors import DataError
from pipelines.records import Sample, Task
from pipelines.rewards.verifiers import build_verifier
from pipelines.run.folder import Round
from pipelines.samples import store
from pipelines.tasks.task_files import parse_messages, read_lines

_FIELDS = {"task_id", "completion", "finish_reason", "messages"}


def verify_round(config: Config, place: Round) -> dict[str, Any]:
    """Give every stored sample of the round a new verdict; returns the counts."""
    tasks = place.run.index_tasks()
    folder = place.require(place.samples, "sample")
    verifier = build_verifier(config)

    def again(sample: Sample) -> Sample:
        if sample.task_id not in tasks:
            raise DataError(f"{folder}: no task {sample.task_id!r} in the run's tasks; sample again for these tasks")
        said = [(sample.completion, sample.finish_reason)]
        return dataclasses.replace(sample, verdict=verifier(tasks[sample.task_id], sample.messages, said)[0])

    counts: Counter[bool] = Counter()
    with store.locked(folder):
        for sample in store.rewrite(folder, again):
            counts[sample.verdict.passed] += 1
    return {"verified": counts.total(), "passed": counts[True]}


def import_completions(config: Config, place: Round, file: Path) -> dict[str, Any]:
    """Put the completions of a file of JSON lines into the round's store, verified; returns the counts.

    A line holds `task_id` and `completion`, and `finish_reason` (`stop` when left out) and `messages` (the task's own
    zero-shot prompt when left out) if they are known. DataError names file and line of what cannot be used, before
    anything is changed.
    """
    tasks = place.run.index_tasks()
    for _ in _rows(file, tasks):
        pass
    counts: Counter[bool] = Counter()

    def batches() -> Iterator[store.Batch]:
        for _, own in itertools.groupby(_samples(config, file, tasks), lambda one: (one.task_id, one.messages)):
            samples = tuple(own)
            counts.update(sample.verdict.passed for sample in samples)
            messages = list(samples[0].messages)
            settings = {"policy": {"name": file.name}, "messages": messages, "decoding": {}, "seed": 0}
            yield store.Batch(settings=settings, samples=samples)

    with store.locked(place.samples):
        store.replace(place.samples, batches())
    return {"imported": counts.total(), "passed": counts[True]}


def _samples(config: Config, file: Path, tasks: Mapping[str, Task]) -> Iterator[Sample]:
    """The file's completions in its order, each task's numbered from 0."""
    given: Counter[str] = Counter()
    verifier = build_verifier(config)
    for row in _rows(file, tasks):
        task = tasks[row["task_id"]]
        messages = tuple(row.get("messages") or task.messages)
        finish_reason = row.get("finish_reason", "stop")
        yield Sample(
            task_id=task.id,
            index=given[task.id],
            source="zero_shot" if messages == task.messages else "few_shot",
            messages=messages,
            completion=row["completion"],
            finish_reason=finish_reason,
            prompt_tokens=0,
            completion_tokens=0,
            token_ids=None,
            logprob_nats=None,
            seed=0,
            decoding={},
            verdict=verifier(task, messages, [(row["completion"], finish_reason)])[0],
        )
        given[task.id] += 1


def _rows(file: Path, tasks: Mapping[str, Task]) -> Iterator[dict[str, Any]]:
    """The lines, checked, one by one."""
    return (_row(where, line, tasks) for where, line in read_lines(file))


def _row(where: str, line: str, tasks: Mapping[str, Task]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error}); write one JSON object per line") from error
    if not isinstance(row, dict) or not {"task_id", "completion"} <= row.keys() <= _FIELDS:
        raise DataError(f"{where}: must hold task_id and completion, and no more than {', '.join(sorted(_FIELDS))}")
    if not isinstance(row["completion"], str) or row.get("finish_reason", "stop") not in ("stop", "length"):
        raise DataError(f"{where}: completion must be text, finish_reason stop or length; fix the line")
    if "messages" in row:
        parse_messages(where, "messages", row["messages"])
    if row["task_id"] not in tasks:
        raise DataError(f"{where}: no task {row['task_id']!r} in the run's tasks; name one of theirs")
    return row
