"""Verdicts anew, and for completions that were made elsewhere.

Reads a round's store, or a file of somebody's completions; writes verified samples into the store. A run never
needs this, since samples are verified as they are drawn: it is for files of others, and for tasks changed by hand.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pipelines.config import Config
from pipelines.errors import DataError
from pipelines.records import FinishReason, Sample, Task, Verdict
from pipelines.rewards import verify
from pipelines.run.folder import Round
from pipelines.samples import store
from pipelines.tasks.task_files import parse_messages

_FIELDS = {"task_id", "completion", "finish_reason", "messages"}


def verify_round(config: Config, place: Round) -> dict[str, Any]:
    """Give every stored sample of the round a new verdict; returns the counts."""
    tasks = {task.id: task for task in place.run.load_tasks()}
    folder = place.require(place.samples, "sample")

    def again(sample: Sample) -> Sample:
        task = tasks.get(sample.task_id)
        if task is None:
            raise DataError(f"{folder}: no task {sample.task_id!r} in the run's tasks; sample again for these tasks")
        return dataclasses.replace(sample, verdict=_verdict(config, task, sample.completion, sample.finish_reason))

    with store.locked(folder):
        samples = list(store.rewrite(folder, again))
    return {"verified": len(samples), "passed": sum(sample.verdict.passed for sample in samples)}


def import_completions(config: Config, place: Round, file: Path) -> dict[str, Any]:
    """Put the completions of a file of JSON lines into the round's store, verified; returns the counts.

    A line holds `task_id` and `completion`, and `finish_reason` (`stop` when left out) and `messages` (the task's own
    zero-shot prompt when left out) if they are known. DataError names file and line of what cannot be used.
    """
    tasks = {task.id: task for task in place.run.load_tasks()}
    rows = [_row(f"{file}:{number}", line, tasks) for number, line in _lines(file) if line.strip()]
    samples: dict[str, list[Sample]] = {}
    for row in rows:
        task = tasks[row["task_id"]]
        own = samples.setdefault(task.id, [])
        messages = tuple(row.get("messages") or task.messages)
        finish_reason = row.get("finish_reason", "stop")
        own.append(
            Sample(
                task_id=task.id,
                index=len(own),
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
                verdict=_verdict(config, task, row["completion"], finish_reason),
            )
        )
    with store.locked(place.samples):
        store.set_aside(place.samples, lambda batch: False)
        for own in samples.values():
            for prompt in dict.fromkeys(json.dumps(sample.messages) for sample in own):
                same = tuple(sample for sample in own if json.dumps(sample.messages) == prompt)
                settings = {"policy": {"name": file.name}, "messages": json.loads(prompt), "decoding": {}, "seed": 0}
                store.append(place.samples, 0, store.Batch(settings=settings, samples=same))
    made = [sample for own in samples.values() for sample in own]
    return {"imported": len(made), "passed": sum(sample.verdict.passed for sample in made)}


def _verdict(config: Config, task: Task, completion: str, finish_reason: FinishReason) -> Verdict:
    return verify(completion, task, finish_reason, assert_formats=config.tasks.assert_formats)


def _lines(file: Path) -> list[tuple[int, str]]:
    try:
        return list(enumerate(file.read_text(encoding="utf-8").split("\n"), start=1))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); name a UTF-8 file of JSON lines") from error


def _row(where: str, line: str, tasks: dict[str, Task]) -> dict[str, Any]:
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
