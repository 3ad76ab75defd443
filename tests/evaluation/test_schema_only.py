"""Tasks that know no right answer: no example of theirs can be shown, so they are measured under one prompt, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pipelines.config import load_config
from pipelines.evaluation.measuring import evaluate
from pipelines.run.folder import Run
from pipelines.tasks import write_tasks


@pytest.fixture
def run(tmp_path: Path, tiny_folder: Path) -> tuple:
    rows = [{"prompt": f"Describe thing {n} as JSON.", "schema": {"type": "object"}} for n in range(8)]
    (tmp_path / "things.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump(
            {
                "model": {"name": str(tiny_folder), "device": "cpu"},
                "tasks": {"files": [str(tmp_path / "things.jsonl")]},
                "evaluation": {"samples_per_task": 2, "max_new_tokens": 4, "worked_examples": 3},
            }
        )
    )
    config = load_config(tmp_path / "c.yaml")
    folder = Run.open(tmp_path / "run", config)
    write_tasks(config, folder)
    return config, folder


def test_they_are_measured_once_and_under_the_name_of_what_was_asked(run: tuple):
    config, folder = run
    evaluate(config, folder, "before")
    rows = [json.loads(line)["completion"] for line in (folder.evaluation / "before.jsonl").read_text().splitlines()]
    things = [row for row in rows if row["task_id"].startswith("things/")]
    assert {row["prompting"] for row in things} == {"bare"}
    assert len(things) == 2 * len({row["task_id"] for row in things})
