"""What changed, on the page: rates on test tasks, ordinary chat, and the same prompts and seeds before and after.

Reads a run's metrics and evaluation, a sample at a time; returns what its template shows. Failures are shown as they
are: beside the handout's own prompt and one of each family, a completion of each family that is still wrong after
training.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from pipelines.errors import DataError
from pipelines.records import Sample, Task
from pipelines.report.artefacts import Artefact, element, load_artefact, relative
from pipelines.report.figures import MEASURES, draw_rates, save_figure
from pipelines.rewards.rates import MEASURED
from pipelines.run.folder import Run
from pipelines.run.stages import PHASES, Phase
from pipelines.samples.store import placed_batches
from pipelines.tasks import Handout
from pipelines.tasks.splits import handout_task
from pipelines.text import Excerpt, clip

_OF_HANDOUT = 4
_SHOWN_CHATS = 4
_SHOWN_FAILURES = 6

Place = tuple[str, int]
"""A zero-shot sample: its task and its index."""
Rows = dict[Place, tuple[str, Sample]]
"""Each with where it is stored."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShownCompletion:
    """One completion with its verdict."""

    text: Excerpt
    passed: bool
    verdict: str
    source: str


def describe_behaviour(run: Run, handout: Handout) -> dict[str, Any]:
    """What the template shows; `metrics` is None where nothing was evaluated."""
    metrics = load_artefact(run, run.metrics_file, "evaluate")
    if metrics is None or not metrics.has("before"):
        return {"metrics": None}
    phases = [phase for phase in PHASES if metrics.has(phase)]
    tasks = run.index_tasks()
    chosen = _chosen(tasks, handout_task(handout).id)
    failures, wrong = _failures(run, tasks) if "after" in phases else ([], None)
    shown = {*chosen, *failures}
    rows = {phase: {place: row for place, row in _zero_shot_rows(run, phase) if place in shown} for phase in phases}
    return {
        "metrics": metrics,
        "phases": phases,
        "sources": {name: list(metrics.table("before", name)) for name in MEASURED if metrics.has("before", name)},
        "named": MEASURED,
        "measures": MEASURES,
        "trained": metrics.rows("trained_families"),
        "figure": save_figure(run, "before_after", draw_rates(metrics)),
        "chosen": _side_by_side([place for place in chosen if place in rows["before"]], tasks, rows),
        "failures": _side_by_side(failures, tasks, rows),
        "wrong": wrong,
        "chat": _chat(run),
    }


def _zero_shot_rows(run: Run, phase: Phase) -> Iterator[tuple[Place, tuple[str, Sample]]]:
    """A phase's zero-shot samples, each with where it is stored, one by one."""
    folder = run.require(run.evaluation(phase), f"evaluate --phase {phase}")
    for line, batch in placed_batches(folder):
        if batch.source == "zero_shot":
            source = f"{relative(run, line.file)}#/{line.number - 1}/samples"
            for place, sample in enumerate(batch.samples):
                yield (sample.task_id, sample.index), (f"{source}/{place}/completion", sample)


def _chosen(tasks: Mapping[str, Task], asked: str) -> list[Place]:
    """The handout's own prompt several times, and the first test task of each other family."""
    first: dict[str, str] = {}
    for task in tasks.values():
        if task.split == "test" and task.id != asked:
            first.setdefault(task.family, task.id)
    return [(asked, index) for index in range(_OF_HANDOUT)] + [(task_id, 0) for task_id in first.values()]


def _failures(run: Run, tasks: Mapping[str, Task]) -> tuple[list[Place], dict[str, Markup]]:
    """Of each family the first completion that is wrong after training, and how many are, of how many."""
    first: dict[str, Place] = {}
    counts: Counter[bool] = Counter()
    for place, (_, sample) in _zero_shot_rows(run, "after"):
        counts[sample.verdict.passed] += 1
        if not sample.verdict.passed and sample.task_id in tasks:
            first.setdefault(tasks[sample.task_id].family, place)
    source = relative(run, run.evaluation("after"))
    return list(first.values())[:_SHOWN_FAILURES], {
        "count": element(counts[False], "count", source, "zero-shot completions that fail"),
        "total": element(counts.total(), "count", source, "zero-shot completions"),
    }


def _side_by_side(places: list[Place], tasks: Mapping[str, Task], rows: dict[Phase, Rows]) -> list[dict[str, Any]]:
    """Each place with each phase's completion."""
    shown = []
    for task_id, index in places:
        if task_id not in tasks:
            raise DataError(f"tasks.jsonl: no task {clip(task_id, 60).text!r}; run `attend-and-prefer tasks` again")
        task = tasks[task_id]
        completions = {
            phase: _completion(*found[task_id, index]) for phase, found in rows.items() if (task_id, index) in found
        }
        shown.append({"request": clip(task.request), "family": clip(task.family, 60).text, "completions": completions})
    return shown


def _completion(source: str, sample: Sample) -> ShownCompletion:
    reason = "right" if sample.verdict.passed else (sample.verdict.reason or "wrong").replace("_", " ")
    return ShownCompletion(
        text=clip(sample.completion, 300), passed=sample.verdict.passed, verdict=clip(reason, 60).text, source=source
    )


def _chat(run: Run) -> list[dict[str, Any]]:
    """Some ordinary requests with the answers of both phases."""
    stored: Artefact | None = load_artefact(run, run.chat_file, "evaluate")
    if stored is None:
        return []
    rows = [stored.table("answers", index) for index in range(len(stored.rows("answers")[:_SHOWN_CHATS]))]
    return [
        {
            "request": clip(str(stored.at("answers", index, "prompt"))),
            "answers": {phase: clip(str(row[phase])) for phase in PHASES if phase in row},
            "source": stored.source("answers", index),
        }
        for index, row in enumerate(rows)
    ]
