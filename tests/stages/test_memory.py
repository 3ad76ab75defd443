"""Memory that does not grow with the tasks, but for a small index: every stage that goes through all of them, measured
in a process of its own on the tiny model."""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.records import Task
from tests.stages.conftest import CONFIG, ROOT, load_run, write_config

FEW, MANY = 6_000, 16_000
"""Enough for every buffer and cache of a fixed size to be full with the fewer."""
BYTES_PER_TASK = 1500
"""A task's texts are 2,000 characters, those of the two samples that it is paired from 2,000 more."""
LOADED = ("samples.collecting", "samples.verifying", "preferences.dataset", "evaluation.measuring")
"""What the stages import, so that it counts for neither number of tasks."""


def pad(seed: str) -> str:
    """Text of its own kind: 1,000 characters."""
    return "".join(random.Random(seed).choices("abcdefghij ", k=1000))


def make_run(folder: Path, model: Path, count: int) -> list[str]:
    """Arguments for a run of a file of so many tasks, half of them for test."""
    folder.mkdir()
    with (folder / "mine.jsonl").open("w") as file:
        for number in range(count):
            shown = [{"role": "user", "content": pad(f"{number}") + pad(f"{number} more")}]
            row = {"prompt": f"Ask {number}", "schema": {"type": "array"}, "few_shot": shown}
            file.write(json.dumps(row) + "\n")
    asked = {"samples_per_task": 1, "max_new_tokens": 2, "few_shot": 0}
    sections = {
        "tasks": {"files": [str(folder / "mine.jsonl")], "test_fraction": 0.5},
        "sampling": {**asked, "pilot": 0},  # noise is never right
        "preferences": {"validation_fraction": 0.0},
        "evaluation": {**CONFIG["evaluation"], **asked, "chat": None},
    }
    file = write_config(folder / "tiny.yaml", model, **sections)
    return ["--config", str(file), "--run", str(folder / "run")]


def plant(task: Task) -> list[dict[str, str]]:
    """A right completion and a wrong one."""
    wrong = json.dumps(pad(task.id))
    return [{"task_id": task.id, "completion": text} for text in (f"[{wrong}]", wrong)]


def peak_bytes(words: list[str]) -> int:
    """The largest resident size of a process that does a verb."""
    child = os.fork()
    if not child:
        os._exit(main(words))
    _, status, usage = os.wait4(child, 0)
    assert status == 0, words
    return usage.ru_maxrss * 1024


def measure(folder: Path, model: Path, count: int) -> None:
    """Do every verb on so many tasks; `peaks.json` tells what each took."""
    for name in LOADED:
        importlib.import_module(f"pipelines.{name}")
    arguments = make_run(folder, model, count)
    peaks = {verb: peak_bytes([verb, *arguments]) for verb in ("tasks", "sample", "evaluate")}
    with (folder / "given.jsonl").open("w") as file:
        for task in load_run(folder / "run").iterate_tasks("train"):
            file.writelines(json.dumps(row) + "\n" for row in plant(task))
    peaks["import"] = peak_bytes(["verify", *arguments, "--completions", str(folder / "given.jsonl")])
    peaks |= {verb: peak_bytes([verb, *arguments]) for verb in ("verify", "pair")}
    (folder / "peaks.json").write_text(json.dumps(peaks))


def measured(folder: Path, model: Path, count: int) -> dict[str, int]:
    """What `measure` finds in a process that has done nothing else."""
    program = "import sys; from pathlib import Path; from tests.stages.test_memory import measure; "
    program += "measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))"
    # oneDNN keeps code for the shapes it has met: up to a fixed size, which so few tasks do not reach.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1"}
    subprocess.run([sys.executable, "-c", program, folder, model, str(count)], check=True, cwd=ROOT, env=environment)
    return json.loads((folder / "peaks.json").read_text())


@pytest.mark.slow
def test_no_stage_holds_the_texts_of_all_tasks(tiny_folder: Path, tmp_path: Path):
    few, many = (measured(tmp_path / str(count), tiny_folder, count) for count in (FEW, MANY))
    grown = {stage: (many[stage] - few[stage]) / (MANY - FEW) for stage in few}
    print({stage: f"{many[stage] / 1e6:.0f} MB, {bytes_:.0f} bytes a task" for stage, bytes_ in grown.items()})
    assert max(grown.values()) <= BYTES_PER_TASK, grown
