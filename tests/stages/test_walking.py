"""The verb `run` on the tiny model, whose samples are planted: the whole plan, what it skips, and Ctrl-C."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.run.folder import Run
from pipelines.run.stages import plan, sample_stage
from tests.stages.conftest import CTRL_C, ROOT, do, load_run


@pytest.fixture
def run(planted: Path) -> Run:
    """A run that takes the planted samples for its own."""
    run = load_run(planted)
    run.record_stage(sample_stage(run.last), {"tokens": 160, "seconds": 1.5})
    return run


def test_a_run_does_what_is_missing_and_a_second_one_skips_it(run: Run, arguments: list[str], capfd):
    do(arguments, "run")
    stages = run.manifest()["stages"]
    assert set(stages) == {stage.name for stage in plan(run)}
    assert stages["train_1"]["processes"] == 1
    first = capfd.readouterr().out
    assert first.count("up to date, skipped") == 1
    do(arguments, "run")
    assert capfd.readouterr().out.count("up to date, skipped") == 7  # all but the tasks and the page
    shutil.rmtree(run.evaluation("after"))
    do(arguments, "run")
    said = capfd.readouterr().out
    assert said.count("up to date, skipped") == 6
    assert all(run.is_done(stage) for stage in plan(run))


@pytest.mark.parametrize("stage", ["measure the test tasks, before", "train the policy"])
def test_ctrl_c_stops_without_a_traceback_and_the_same_command_goes_on(run: Run, arguments: list[str], stage: str):
    """One stage in this process, and the one that is launched."""
    process = subprocess.Popen(
        [*CTRL_C, sys.executable, "-m", "pipelines", "run", *arguments], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while stage not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "stopped; the same command goes on from the last finished stage"
    assert "Traceback" not in errors
    assert not list(run.root.rglob(".*.*"))
    assert main(["run", *arguments]) == 0
    assert json.loads(run.metrics_file.read_text())["after"]
