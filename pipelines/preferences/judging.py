"""Every training completion before the validator: reads the samples, writes one verdict per line beside them."""

from __future__ import annotations

from typing import Any

from pipelines.config import Config
from pipelines.errors import DataError
from pipelines.records import Completion, Task, dump_lines, iterate_lines, load_lines
from pipelines.rewards import judge
from pipelines.rundir import RunDir, write_text


def judge_completions(config: Config, run: RunDir) -> dict[str, Any]:
    """Write `samples/verdicts.jsonl`, in the order of the completions; returns the counts."""
    tasks = {task.id: task for task in load_lines(Task, run.require(run.tasks_file, "build_tasks.py"))}
    verdicts = []
    source = run.require(run.completions_file, "sample_completions.py")
    for number, completion in iterate_lines(Completion, source):
        task = tasks.get(completion.task_id)
        if task is None:
            raise DataError(
                f"{source}:{number}: no task {completion.task_id!r} in {run.tasks_file}; sample again for these tasks"
            )
        verdicts.append(
            judge(completion.text, task, completion.finish_reason, assert_formats=config.tasks.assert_formats)
        )
    write_text(run.verdicts_file, dump_lines(verdicts))
    return {"judged": len(verdicts), "passed": sum(verdict.passed for verdict in verdicts)}
