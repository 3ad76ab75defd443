"""Training that is killed with SIGKILL goes on by itself, and ends where it would have ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.run.folder import Round
from tests.stages.conftest import CONFIG, DPO, ROOT, do, load_run, plant_samples, write_config

STEPS = 40
SAVING = {
    **DPO, "save_strategy": "steps", "max_steps": STEPS, "save_steps": 10, "save_total_limit": 3,
    "precompute_ref_log_probs": True,
}  # fmt: skip
TRAINING = {**CONFIG["training"], "dpo": SAVING, "average_from": 0.1}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A run whose training was never interrupted; checkpoints every 10 steps, three kept."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    file = write_config(folder / "saving.yaml", tiny_folder, training=TRAINING)
    arguments = ["--config", str(file), "--run", str(folder / "run")]
    do(arguments, "tasks")
    plant_samples(arguments)
    do(arguments, "pair", "train")
    return folder / "run"


@pytest.fixture
def run(uninterrupted: Path, tmp_path: Path) -> Round:
    """A copy of it to be broken."""
    return load_run(shutil.copytree(uninterrupted, tmp_path / "run")).round(1)


def arguments(run: Round) -> list[str]:
    return ["--config", str(run.run.config_file), "--run", str(run.run.root)]


def kill_after(step: int, run: Round) -> None:
    """Start training anew in a process of its own and kill it once the checkpoint of `step` is sealed."""
    shutil.rmtree(run.training)
    shutil.rmtree(run.adapter)
    command = [sys.executable, "-m", "pipelines", "train", *arguments(run)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    seal = run.training / f"checkpoint-{step}" / "seal.json"
    while not seal.exists():
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not run.adapter.exists()


def course(run: Round) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    log = json.loads((run.training / "log.json").read_text())
    return [entry for entry in log if "loss" in entry], load_file(run.adapter / "adapter_model.safetensors")


def assert_same(one: Round, other: Round) -> None:
    (losses, weights), (other_losses, other_weights) = course(one), course(other)
    assert len(losses) == len(other_losses) == STEPS
    for mine, theirs in zip(losses, other_losses, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    for name, value in weights.items():
        torch.testing.assert_close(value, other_weights[name], atol=1e-5, rtol=1e-5)


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(run: Round, uninterrupted: Path):
    kill_after(20, run)
    do(arguments(run), "train")
    stage = run.run.manifest()["stages"]["train_1"]
    assert stage["resumed_from_step"] >= 20
    assert stage["averaged_steps"] == STEPS - STEPS // 10
    assert_same(run, load_run(uninterrupted).round(1))


def test_a_torn_checkpoint_is_left_out_for_the_one_before(run: Round, uninterrupted: Path, capsys):
    """As a training that was killed while it wrote its fourth checkpoint leaves them, the third damaged since."""
    shutil.rmtree(run.adapter)
    os.truncate(run.training / "checkpoint-30" / "optimizer.pt", 100)
    (run.training / f"checkpoint-{STEPS}" / "seal.json").unlink()
    do(arguments(run), "train")
    said = capsys.readouterr().out
    assert "checkpoint-30 has been damaged since it was written: set aside" in said
    assert f"checkpoint-{STEPS} was being written when the training stopped: set aside" in said
    assert run.run.manifest()["stages"]["train_1"]["resumed_from_step"] == 20
    assert_same(run, load_run(uninterrupted).round(1))


def test_checkpoints_of_other_pairs_are_not_gone_on_from(run: Round, capsys):
    plant_samples(arguments(run), without_fault=1)
    do(arguments(run), "pair", "train")
    assert (
        f"checkpoint-{STEPS} is of another training: set aside as stale-1-checkpoint-{STEPS}" in capsys.readouterr().out
    )
    assert (run.training / f"stale-1-checkpoint-{STEPS}" / "trainer_state.json").exists()
    assert run.run.manifest()["stages"]["train_1"]["resumed_from_step"] is None
