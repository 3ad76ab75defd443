"""Real `accelerate launch` processes on the tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate import PartialState

from pipelines.errors import ConfigError
from pipelines.training.dpo import refuse_strangers

ROOT = Path(__file__).resolve().parent.parent.parent


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch):
    state = PartialState(cpu=True)
    refuse_strangers(state)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes were launched but each is alone; on CPUs set ACCELERATE_USE_CPU"):
        refuse_strangers(state)


def launch(run: Path, source: Path, *, processes: int, pairs_per_process: int) -> list[dict[str, float]]:
    """Train on another run's pairs with a global batch of 4; returns the log."""
    script = ROOT / "scripts" / "train_dpo.py"
    batch = f"training.dpo.per_device_train_batch_size={pairs_per_process}"
    arguments = ["--config", str(source / "config.yaml"), "--run", str(run), "--set", batch]
    run.mkdir()
    tools = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "configs/accelerate/cpu.yaml"]
    subprocess.run([sys.executable, ROOT / "scripts" / "build_tasks.py", *arguments], check=True, cwd=ROOT)
    (run / "dataset").symlink_to(source / "dataset")
    subprocess.run(
        [*tools, "--num_processes", str(processes), script, *arguments],
        check=True,
        cwd=ROOT,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    stage = json.loads((run / "manifest.json").read_text())["stages"]["train"]
    assert stage["processes"] == processes
    return json.loads((run / "training" / "log.json").read_text())


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_global_batch(tiny_run: Path, tmp_path: Path):
    one = launch(tmp_path / "one", tiny_run, processes=1, pairs_per_process=4)
    two = launch(tmp_path / "two", tiny_run, processes=2, pairs_per_process=2)
    for mine, theirs in zip(one[:-1], two[:-1], strict=True):
        for name in ("loss", "grad_norm", "rewards/margins"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-5), (mine["step"], name)
