"""TRL's other trainers on the planted run of the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

SETTINGS = {"max_steps": 3, "learning_rate": 1e-2, "gradient_checkpointing": False, "save_strategy": "no"}
SECTIONS = {
    "sft": {"per_device_train_batch_size": 4},
    "kto": {"per_device_train_batch_size": 4},
    "grpo": {"per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 8},
}


def train(method: str, do, arguments: list[str], planted: Path, config_file: Path) -> dict:
    for file in (config_file, planted / "config.yaml"):
        tree = yaml.safe_load(file.read_text())
        tree["training"] |= {"method": method, method: {**SETTINGS, **SECTIONS[method]}}
        file.write_text(yaml.safe_dump(tree))
    do(arguments, "judge_completions", "build_preferences", "train_dpo")
    return json.loads((planted / "manifest.json").read_text())["stages"]["train"]


@pytest.mark.parametrize("method", SECTIONS)
def test_each_method_trains_an_adapter_and_leaves_the_base_alone(
    method: str, do, arguments: list[str], planted: Path, config_file: Path
):
    facts = train(method, do, arguments, planted, config_file)
    assert (facts["method"], facts["steps"], facts["base_unchanged"]) == (method, 3, True)
    assert load_file(planted / "adapter" / "adapter_model.safetensors")


def test_fine_tuning_reads_each_chosen_completion_once(do, arguments, planted: Path, config_file: Path):
    # 4 tasks of 2 pairs with the same chosen side
    assert train("sft", do, arguments, planted, config_file)["pairs"] == 4


def test_kto_reads_every_completion_those_cut_off_too(do, arguments, planted: Path, config_file: Path):
    assert train("kto", do, arguments, planted, config_file)["pairs"] == 16


def test_grpo_tells_what_it_sampled_and_how_it_was_scored(do, arguments, planted: Path, config_file: Path):
    facts = train("grpo", do, arguments, planted, config_file)
    log = json.loads((planted / "training" / "log.json").read_text())
    assert facts["sampled_tokens"] == sum(4 * entry["completions/mean_length"] for entry in log if "loss" in entry)
    assert all(0 <= entry["rewards/json_reward/mean"] <= 1 for entry in log if "loss" in entry)
