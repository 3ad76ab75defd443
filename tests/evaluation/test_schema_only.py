"""Tasks that know no right answer: no example of theirs can be shown, so they are measured under one prompt, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.config import load_config
from pipelines.evaluation.measuring import evaluate
from pipelines.run.folder import Run
from pipelines.samples.store import read_samples
from pipelines.tasks import write_tasks
from tests.stages.conftest import write_config


@pytest.fixture
def run(tmp_path: Path, tiny_folder: Path) -> Run:
    rows = [{"prompt": f"Describe thing {n} as JSON.", "schema": {"type": "object"}} for n in range(8)]
    (tmp_path / "things.jsonl").write_text("\n".join(map(json.dumps, rows)))
    file = write_config(
        tmp_path / "c.yaml",
        tiny_folder,
        tasks={"files": [str(tmp_path / "things.jsonl")]},
        evaluation={"samples_per_task": 2, "max_new_tokens": 4, "few_shot": 3},
    )
    config = load_config(file)
    run = Run.open(tmp_path / "run", config)
    write_tasks(config, run)
    evaluate(config, run, "before")
    return run


def test_they_are_measured_once_and_under_the_name_of_what_was_asked(run: Run):
    samples = read_samples(run.evaluation("before"))
    things = [own for task_id, own in samples.items() if task_id.startswith("things/")]
    assert things
    assert {tuple(one.source for one in own) for own in things} == {("zero_shot", "zero_shot")}


def test_nothing_is_said_of_exact_matches_and_the_pass_rate_is(run: Run):
    cell = json.loads(run.metrics_file.read_text())["before"]["zero_shot"]["things"]
    assert (cell["exact_match"]["rate"], cell["exact_match"]["total"]) == (None, 0)
    assert cell["pass_rate"]["total"] == cell["schema_valid"]["total"] > 0
