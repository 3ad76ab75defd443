"""Real `accelerate launch` processes on the tiny model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate import PartialState

from pipelines.errors import ConfigError
from pipelines.run.processes import refuse_strangers

ROOT = Path(__file__).resolve().parent.parent.parent


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch):
    state = PartialState(cpu=True)
    refuse_strangers(state)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes were launched but each is alone; on CPUs"):
        refuse_strangers(state)


def launch(arguments: list[str], run: Path, processes: int) -> list[dict[str, float]]:
    """Train with a global batch of 4 pairs in so many processes; returns the log."""
    shutil.rmtree(run / "training", ignore_errors=True)
    launcher_config = f"configs/accelerate/{'cpu' if processes == 1 else 'multi_cpu'}.yaml"
    tools = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", launcher_config]
    subprocess.run(
        [*tools, "scripts/train_dpo.py", *arguments],
        check=True,
        cwd=ROOT,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    assert json.loads((run / "manifest.json").read_text())["stages"]["train"]["processes"] == processes
    return json.loads((run / "training" / "log.json").read_text())


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_global_batch(
    do, arguments: list[str], planted: Path, config_file: Path
):
    do(arguments, "judge_completions", "build_preferences")
    one = launch(arguments, planted, 1)
    for file in (config_file, planted / "config.yaml"):
        file.write_text(file.read_text().replace("per_device_train_batch_size: 4", "per_device_train_batch_size: 2"))
    two = launch(arguments, planted, 2)
    for mine, theirs in zip(one[:-1], two[:-1], strict=True):
        for name in ("loss", "grad_norm", "rewards/margins"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-5), (mine["step"], name)


@pytest.mark.slow
def test_two_processes_measure_held_out_tasks_as_one(do, arguments: list[str], planted: Path, config_file: Path):
    for file in (config_file, planted / "config.yaml"):
        tree = yaml.safe_load(file.read_text())
        tree["preferences"] = {**tree.get("preferences", {}), "test_fraction": 0.25}
        tree["training"]["held_out"] = {"every_steps": 3, "samples_per_task": 2, "max_new_tokens": 4}
        file.write_text(yaml.safe_dump(tree))
    do(arguments, "judge_completions", "build_preferences")
    measured = [entry for entry in launch(arguments, planted, 2) if "held_out/exact" in entry]
    assert [entry["step"] for entry in measured] == [0, 3, 6]
    assert measured[0]["held_out/kl_nats_per_token"] == 0 < measured[-1]["held_out/kl_nats_per_token"]
