"""Training that is killed with SIGKILL goes on by itself, and ends where it would have ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 40


@pytest.fixture
def trained(do, arguments: list[str], planted: Path, config_file: Path) -> tuple[Path, list[str]]:
    """(a run whose training was never interrupted, its arguments); checkpoints every 10 steps, three kept."""
    tree = yaml.safe_load(config_file.read_text())
    del tree["training"]["dpo"]["save_strategy"]
    tree["training"]["dpo"] |= {"max_steps": STEPS, "save_steps": 10, "save_total_limit": 3}
    tree["training"]["dpo"]["precompute_ref_log_probs"] = True
    tree["training"]["average_from"] = 0.1
    for file in (config_file, planted / "config.yaml"):
        content = tree if file == config_file else {**yaml.safe_load(file.read_text()), "training": tree["training"]}
        file.write_text(yaml.safe_dump(content))
    do(arguments, "judge_completions", "build_preferences", "train_dpo")
    return planted, arguments


def kill_after(step: int, arguments: list[str], run: Path) -> None:
    """Start training anew in a process of its own and kill it once the checkpoint of `step` is sealed."""
    shutil.rmtree(run / "training")
    shutil.rmtree(run / "adapter")
    child = subprocess.Popen(
        [sys.executable, "scripts/train_dpo.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    seal = run / "training" / f"checkpoint-{step}" / "seal.json"
    while not seal.exists():
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (run / "adapter").exists()


def course(run: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    log = json.loads((run / "training" / "log.json").read_text())
    return [entry for entry in log if "loss" in entry], load_file(run / "adapter" / "adapter_model.safetensors")


def assert_same(one, other) -> None:
    assert len(one[0]) == len(other[0]) == STEPS
    for mine, theirs in zip(one[0], other[0], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    for name, value in one[1].items():
        torch.testing.assert_close(value, other[1][name], atol=1e-5, rtol=1e-5)


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(do, trained: tuple[Path, list[str]]):
    run, arguments = trained
    uninterrupted = course(run)
    kill_after(20, arguments, run)
    do(arguments, "train_dpo")
    stage = json.loads((run / "manifest.json").read_text())["stages"]["train"]
    assert stage["resumed_from_step"] >= 20
    assert stage["averaged_steps"] == STEPS - STEPS // 10
    assert_same(course(run), uninterrupted)


def test_a_torn_checkpoint_is_left_out_for_the_one_before(do, trained: tuple[Path, list[str]], capsys):
    run, arguments = trained
    uninterrupted = course(run)
    kill_after(30, arguments, run)
    newest = max((run / "training").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    os.truncate(newest / "optimizer.pt", 100)
    unsealed = run / "training" / "checkpoint-35"
    shutil.copytree(run / "training" / "checkpoint-20", unsealed, dirs_exist_ok=True)
    (unsealed / "seal.json").unlink()
    capsys.readouterr()
    do(arguments, "train_dpo")
    said = capsys.readouterr().out
    assert f"{newest.name} has been damaged since it was written: set aside" in said
    assert "checkpoint-35 was being written when the training stopped: set aside" in said
    assert_same(course(run), uninterrupted)


def test_checkpoints_of_other_pairs_are_not_gone_on_from(do, trained: tuple[Path, list[str]], capsys):
    run, arguments = trained
    verdicts = run / "samples" / "verdicts.jsonl"
    rows = [json.loads(line) for line in verdicts.read_text().splitlines()]
    rows[2] = {**rows[2], "parses": True, "root_type": True, "schema_valid": True, "exact": True, "reason": None}
    verdicts.write_text("".join(json.dumps({**row, "offset": None}) + "\n" for row in rows))
    capsys.readouterr()
    do(arguments, "build_preferences", "train_dpo")
    assert (
        f"checkpoint-{STEPS} is of another training: set aside as stale-1-checkpoint-{STEPS}" in capsys.readouterr().out
    )
    assert (run / "training" / f"stale-1-checkpoint-{STEPS}" / "trainer_state.json").exists()
    assert json.loads((run / "manifest.json").read_text())["stages"]["train"]["resumed_from_step"] is None
