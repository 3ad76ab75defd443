"""Real `accelerate launch` processes on the tiny model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate import PartialState

from pipelines.errors import ConfigError
from pipelines.run.processes import require_process_group
from tests.stages.conftest import CONFIG, DPO, ROOT, change, do, load_run


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch):
    state = PartialState(cpu=True)
    require_process_group(state)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes were launched but each is alone; on CPUs"):
        require_process_group(state)


def launch(arguments: list[str], processes: int) -> list[dict[str, float]]:
    """Train with a global batch of 4 pairs in so many processes; returns the log."""
    run = load_run(Path(arguments[-1]))
    shutil.rmtree(run.last.training, ignore_errors=True)
    launcher_config = f"configs/accelerate/{'cpu' if processes == 1 else 'multi_cpu'}.yaml"
    tools = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", launcher_config]
    subprocess.run(
        [*tools, "scripts/train.py", *arguments],
        check=True,
        cwd=ROOT,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    assert run.manifest()["stages"]["train_1"]["processes"] == processes
    return json.loads((run.last.training / "log.json").read_text())


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_global_batch(arguments: list[str], paired: Path, config_file: Path):
    one = launch(arguments, 1)
    change([config_file, paired / "config.yaml"], training={"dpo": {**DPO, "per_device_train_batch_size": 2}})
    two = launch(arguments, 2)
    for mine, theirs in zip(one[:-1], two[:-1], strict=True):
        for name in ("loss", "grad_norm", "rewards/margins"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-5), (mine["step"], name)


@pytest.mark.slow
def test_two_processes_measure_validation_tasks_as_one(arguments: list[str], planted: Path, config_file: Path):
    validation = {"every_steps": 3, "samples_per_task": 2, "max_new_tokens": 4}
    change(
        [config_file, planted / "config.yaml"],
        preferences={**CONFIG["preferences"], "validation_fraction": 0.25},
        training={"validation": validation},
    )
    do(arguments, "pair")
    measured = [entry for entry in launch(arguments, 2) if "validation/pass_rate" in entry]
    assert [entry["step"] for entry in measured] == [0, 3, 6]
    assert measured[0]["validation/kl_nats_per_token"] == 0 < measured[-1]["validation/kl_nats_per_token"]
