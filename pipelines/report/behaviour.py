"""What changed, on the page: rates on test tasks, ordinary chat, and the same prompts and seeds before and after.

Reads a run's metrics and evaluation; returns what its template shows. Failures are shown as they are: beside the
handout's own prompt and one of each family, a completion of each family that is still wrong after training.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from markupsafe import Markup

from pipelines.errors import DataError
from pipelines.records import Sample, Task
from pipelines.report.artefacts import Artefact, element, load_artefact, relative
from pipelines.report.figures import MEASURES, SOURCES, draw_rates, save_figure
from pipelines.run.folder import Run
from pipelines.run.stages import PHASES, Phase
from pipelines.samples.store import numbered_batches
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
    rows = {phase: _zero_shot_rows(run, phase) for phase in phases}
    tasks = {task.id: task for task in run.load_tasks()}
    asked = handout_task(handout).id
    return {
        "metrics": metrics,
        "phases": phases,
        "sources": {name: list(metrics.table("before", name)) for name in SOURCES if metrics.has("before", name)},
        "named": SOURCES,
        "measures": MEASURES,
        "trained": metrics.rows("trained_families"),
        "figure": save_figure(run, "before_after", draw_rates(metrics)),
        "chosen": _side_by_side(_shown(tasks, rows, asked), tasks, rows),
        "failures": _side_by_side(_failures(tasks, rows), tasks, rows) if "after" in rows else [],
        "wrong": _wrong(run, rows["after"]) if "after" in rows else None,
        "chat": _chat(run),
    }


def _zero_shot_rows(run: Run, phase: Phase) -> Rows:
    """A phase's zero-shot samples."""
    folder = run.require(run.evaluation(phase), f"evaluate --phase {phase}")
    return {
        (sample.task_id, sample.index): (f"{relative(run, file)}#/{line - 1}/samples/{place}/completion", sample)
        for file, line, batch in numbered_batches(folder)
        for place, sample in enumerate(batch.samples)
        if sample.source == "zero_shot"
    }


def _shown(tasks: dict[str, Task], rows: dict[Phase, Rows], asked: str) -> list[Place]:
    """The handout's own prompt several times, and the first test task of each other family."""
    first: dict[str, str] = {}
    for task in tasks.values():
        if task.split == "test" and task.id != asked:
            first.setdefault(task.family, task.id)
    places = [(asked, index) for index in range(_OF_HANDOUT)] + [(task_id, 0) for task_id in first.values()]
    return [place for place in places if place in rows["before"]]


def _failures(tasks: dict[str, Task], rows: dict[Phase, Rows]) -> list[Place]:
    """Of each family the first completion that is wrong after training."""
    first: dict[str, Place] = {}
    for place, (_, sample) in rows["after"].items():
        if not sample.verdict.passed and sample.task_id in tasks:
            first.setdefault(tasks[sample.task_id].family, place)
    return list(first.values())[:_SHOWN_FAILURES]


def _wrong(run: Run, rows: Rows) -> dict[str, Markup]:
    """How many zero-shot completions are wrong after training, of how many."""
    source = relative(run, run.evaluation("after"))
    failed = sum(not sample.verdict.passed for _, sample in rows.values())
    return {
        "count": element(failed, "count", source, "zero-shot completions that fail"),
        "total": element(len(rows), "count", source, "zero-shot completions"),
    }


def _side_by_side(places: list[Place], tasks: dict[str, Task], rows: dict[Phase, Rows]) -> list[dict[str, Any]]:
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
