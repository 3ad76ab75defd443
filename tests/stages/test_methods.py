"""TRL's other trainers on the planted run of the tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from pipelines.run.folder import Run
from tests.stages.conftest import change, do, load_run

SETTINGS = {"max_steps": 3, "learning_rate": 1e-2, "gradient_checkpointing": False, "save_strategy": "no"}
SECTIONS = {
    "sft": {"per_device_train_batch_size": 4},
    "kto": {"per_device_train_batch_size": 4},
    "grpo": {"per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 8},
}


@pytest.fixture(scope="module")
def trained(trained_once: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Method → a run trained by it."""
    runs = {}
    for method, section in SECTIONS.items():
        root = shutil.copytree(trained_once["paired"], tmp_path_factory.mktemp("method") / method)
        config = root / "config.yaml"
        change([config], training={"method": method, method: {**SETTINGS, **section}})
        do(["--config", str(config), "--run", str(root)], "train")
        runs[method] = load_run(root)
    return runs


def facts(run: Run) -> dict[str, Any]:
    return run.manifest()["stages"]["train_1"]


@pytest.mark.parametrize("method", SECTIONS)
def test_each_method_trains_an_adapter_and_leaves_the_base_alone(method: str, trained: dict[str, Run]):
    found = facts(trained[method])
    assert (found["method"], found["steps"], found["base_unchanged"]) == (method, 3, True)
    assert load_file(trained[method].last.adapter / "adapter_model.safetensors")


def test_fine_tuning_reads_each_chosen_completion_once(trained: dict[str, Run]):
    # 4 tasks of 2 pairs with the same chosen side
    assert facts(trained["sft"])["pairs"] == 4


def test_kto_reads_every_completion_those_cut_off_too(trained: dict[str, Run]):
    assert facts(trained["kto"])["pairs"] == 16


def test_grpo_tells_what_it_sampled_and_how_it_was_scored(trained: dict[str, Run]):
    log = json.loads((trained["grpo"].last.training / "log.json").read_text())
    steps = [entry for entry in log if "loss" in entry]
    assert facts(trained["grpo"])["sampled_tokens"] == sum(4 * entry["completions/mean_length"] for entry in steps)
    assert all(0 <= entry["rewards/json_reward/mean"] <= 1 for entry in steps)
