"""What changed, on the page: held-out rates, ordinary chat, and the same prompts and seeds answered before and after.

Reads a run's metrics and evaluation; returns what its template shows. Failures are shown as they are: beside the
handout's own prompt and one of each family, a completion of each family that is still wrong after training.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from markupsafe import Markup

from pipelines.errors import DataError
from pipelines.records import Completion, Task, Verdict, from_json, load_lines
from pipelines.report.artefacts import Artefact, element, load_artefact
from pipelines.report.figures import draw_rates, keep
from pipelines.run.folder import Run
from pipelines.tasks import Handout
from pipelines.tasks.splits import handout_task
from pipelines.text import Excerpt, clip

_SCRIPT = "evaluate_policy.py"
_PHASES = ("before", "after")
_OF_HANDOUT = 4
_SHOWN_CHATS = 4
_SHOWN_FAILURES = 6

Place = tuple[str, int]
"""A bare completion: its task and its index."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One completion with its verdict."""

    text: Excerpt
    passed: bool
    verdict: str
    source: str


Rows = dict[Place, tuple[int, Completion, Verdict]]


def describe_behaviour(run: Run, handout: Handout) -> dict[str, Any]:
    """What the template shows; `metrics` is None where nothing was evaluated."""
    metrics = load_artefact(run, "metrics.json", _SCRIPT)
    if metrics is None or not metrics.has("before"):
        return {"metrics": None}
    phases = [phase for phase in _PHASES if metrics.has(phase)]
    rows = {phase: _bare_rows(run, phase) for phase in phases}
    tasks = _tasks(run)
    asked = handout_task(handout).id
    return {
        "metrics": metrics,
        "phases": phases,
        "promptings": {
            name: list(metrics.table("before", name))
            for name in ("bare", "worked_examples")
            if metrics.has("before", name)
        },
        "trained": metrics.rows("trained_families"),
        "figure": keep(run, "before_after", draw_rates(metrics)),
        "chosen": _side_by_side(_shown(tasks, rows, asked), tasks, rows),
        "failures": _side_by_side(_failures(tasks, rows), tasks, rows) if "after" in rows else [],
        "wrong": _wrong(rows["after"]) if "after" in rows else None,
        "chat": _chat(run),
    }


def _tasks(run: Run) -> dict[str, Task]:
    try:
        return {task.id: task for task in load_lines(Task, run.require(run.tasks_file, "build_tasks.py"))}
    except UnicodeDecodeError as error:
        raise DataError(f"samples/tasks.jsonl: not UTF-8 ({error}); run scripts/build_tasks.py again") from error


def _bare_rows(run: Run, phase: str) -> Rows:
    """A phase's bare completions, each with its line."""
    path = run.evaluation / f"{phase}.jsonl"
    name = path.relative_to(run.root).as_posix()
    found: Rows = {}
    if not path.exists():
        raise DataError(f"{name}: missing, though metrics.json tells of it; run scripts/{_SCRIPT} again")
    for line, content in enumerate(path.read_bytes().splitlines()):
        try:
            row = json.loads(content)
            completion, verdict = from_json(Completion, row["completion"]), from_json(Verdict, row["verdict"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{name}:{line + 1}: not a judged completion; run scripts/{_SCRIPT} again") from error
        if completion.prompting == "bare":
            found[completion.task_id, completion.index] = line, completion, verdict
    return found


def _shown(tasks: dict[str, Task], rows: dict[str, Rows], asked: str) -> list[Place]:
    """The handout's own prompt several times, and the first held-out task of each other family."""
    first: dict[str, str] = {}
    for task in tasks.values():
        if task.split == "held_out" and task.id != asked:
            first.setdefault(task.family, task.id)
    places = [(asked, index) for index in range(_OF_HANDOUT)] + [(task_id, 0) for task_id in first.values()]
    return [place for place in places if place in rows["before"]]


def _failures(tasks: dict[str, Task], rows: dict[str, Rows]) -> list[Place]:
    """Of each family the first completion that is wrong after training."""
    first: dict[str, Place] = {}
    for place, (_, _, verdict) in rows["after"].items():
        if not verdict.passed and place[0] in tasks:
            first.setdefault(tasks[place[0]].family, place)
    return list(first.values())[:_SHOWN_FAILURES]


def _wrong(rows: Rows) -> dict[str, Markup]:
    """How many bare completions are wrong after training, of how many."""
    source = "evaluation/after.jsonl"
    failed = sum(not verdict.passed for _, _, verdict in rows.values())
    return {
        "count": element(failed, "count", source, "bare completions that fail"),
        "total": element(len(rows), "count", source, "bare completions"),
    }


def _side_by_side(places: list[Place], tasks: dict[str, Task], rows: dict[str, Rows]) -> list[dict[str, Any]]:
    """Each place with each phase's answer."""
    shown = []
    for task_id, index in places:
        if task_id not in tasks:
            raise DataError(
                f"samples/tasks.jsonl: no task {clip(task_id, 60).text!r}; run scripts/build_tasks.py again"
            )
        task = tasks[task_id]
        answers = {
            phase: _answer(phase, *found[task_id, index]) for phase, found in rows.items() if (task_id, index) in found
        }
        shown.append({"prompt": clip(task.prompt), "family": clip(task.family, 60).text, "answers": answers})
    return shown


def _answer(phase: str, line: int, completion: Completion, verdict: Verdict) -> Answer:
    reason = "right" if verdict.passed else (verdict.reason or "wrong").replace("_", " ")
    return Answer(
        text=clip(completion.text, 300),
        passed=verdict.passed,
        verdict=clip(reason, 60).text,
        source=f"evaluation/{phase}.jsonl#/{line}/completion/text",
    )


def _chat(run: Run) -> list[dict[str, Any]]:
    """Some ordinary requests with the answers of both phases."""
    stored: Artefact | None = load_artefact(run, "evaluation/chat.json", _SCRIPT)
    if stored is None:
        return []
    rows = [stored.table("answers", index) for index in range(len(stored.rows("answers")[:_SHOWN_CHATS]))]
    return [
        {
            "prompt": clip(str(stored.at("answers", index, "prompt"))),
            "answers": {phase: clip(str(row[phase])) for phase in _PHASES if phase in row},
            "source": stored.source("answers", index),
        }
        for index, row in enumerate(rows)
    ]
