"""The verb `run` on the tiny model, whose samples are planted: the whole plan, what it skips, and Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest

from pipelines.config import load_config
from pipelines.run.folder import Run
from pipelines.run.stages import evaluate_stage, plan, sample_stage, train_stage
from pipelines.run.walk import walk as walk_plan
from tests.stages.conftest import CTRL_C, ROOT, do, load_run

SKIPPED = "up to date, skipped"


def walk(run: Run) -> str:
    """Do `run`; returns what it said."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        do(["--config", str(run.config_file), "--run", str(run.root)], "run")
    return said.getvalue()


@pytest.fixture(scope="module")
def walked(trained_once: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """A run that took the planted samples for its own, and what it said."""
    run = load_run(shutil.copytree(trained_once["planted"], tmp_path_factory.mktemp("walked") / "run"))
    run.record_stage(sample_stage(run.last), {"tokens": 160, "seconds": 1.5})
    return run, walk(run)


@pytest.fixture
def run(walked: tuple[Run, str], tmp_path: Path) -> Run:
    """A copy of it."""
    return load_run(shutil.copytree(walked[0].root, tmp_path / "run"))


def test_a_run_does_what_is_missing(walked: tuple[Run, str]):
    run, said = walked
    assert run.manifest()["stages"].keys() == {stage.name for stage in plan(run)}
    assert all(run.is_done(stage) for stage in plan(run))
    assert run.manifest()["stages"]["train_1"]["processes"] == 1
    assert said.count(SKIPPED) == 1


def test_a_run_leaves_what_the_contract_names(walked: tuple[Run, str]):
    root = walked[0].root
    assert {path.name for path in root.iterdir()} == {
        *("config.yaml", "manifest.json", "tasks.jsonl", "handout.yaml", "attention", "rounds", "figures"),
        *("evaluation", "metrics.json", "report.html"),
    }
    made = {path.name for path in (root / "rounds" / "1").iterdir()}
    assert made == {"samples", "run-round-1", "training", "adapter"}
    metrics = json.loads((root / "metrics.json").read_text())
    cell = metrics["after"]["zero_shot"]["range"]["exact_match"]
    assert set(cell) == {"count", "total", "rate", "low", "high"}
    assert cell["total"] == 2 * 2
    assert set(metrics["before"]["few_shot"]) == {"overall", "range", "record"}
    assert set(metrics["after"]["zero_shot"]["overall"]) == {"parses", "schema_valid", "exact_match", "pass_rate"}
    assert metrics["chat"]["kl_nats_per_token"] > 0
    answers = json.loads((root / "evaluation" / "chat.json").read_text())["answers"]
    assert set(answers[0]) == {"prompt", "before", "after"}


def test_a_second_call_does_again_only_what_was_lost(run: Run):
    assert walk(run).count(SKIPPED) == 7  # all but the tasks and the page
    shutil.rmtree(run.evaluation("after"))
    assert walk(run).count(SKIPPED) == 6
    assert all(run.is_done(stage) for stage in plan(run))


@pytest.mark.parametrize("interrupted", ["evaluate_before", "train_1"])
def test_ctrl_c_stops_without_a_traceback_and_the_same_command_goes_on(run: Run, interrupted: str):
    """One stage in this process, and the one that is launched."""
    stage = next(one for one in (evaluate_stage(run, "before"), train_stage(run.last)) if one.name == interrupted)
    shutil.rmtree(stage.writes[0])
    process = subprocess.Popen(
        [*CTRL_C, sys.executable, "-m", "pipelines", "run", "--config", run.config_file, "--run", run.root],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while f"{stage.title} …" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "stopped; the same command goes on from the last finished stage"
    assert "Traceback" not in errors
    assert not run.is_done(stage)
    walk(run)
    assert all(run.is_done(one) for one in plan(run))


def test_ctrl_c_while_a_process_is_being_launched_leaves_none_behind(run: Run):
    """The signal comes when the child is there and `Popen` has not returned: nobody else knows of it."""
    shutil.rmtree(run.last.adapter)
    pressed: list[int] = []

    def press(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_return" and getattr(function, "__name__", "") == "fork_exec" and not pressed:
            pressed.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    sys.setprofile(press)
    try:
        with pytest.raises(KeyboardInterrupt):
            walk_plan(load_config(run.config_file), run, [train_stage(run.last)])
    finally:
        sys.setprofile(None)
    assert pressed
    assert not [one for one in psutil.Process().children() if str(run.root) in one.cmdline()]
    assert not run.is_done(train_stage(run.last))
