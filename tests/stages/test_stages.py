from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from datasets import load_dataset
from peft import PeftModel
from safetensors.torch import load_file

from pipelines.models import load_model
from pipelines.samples.store import read_samples
from tests.stages.conftest import do, load_run, plant_samples, write_config


def test_planted_samples_are_verified_tier_by_tier(planted: Path):
    for samples in read_samples(load_run(planted).round(1).samples).values():
        tiers = [(one.verdict.parses, one.verdict.exact_match) for one in samples]
        assert tiers == [(True, True), (True, False), (False, False), (False, False)]
        assert samples[3].verdict.reason == "truncated"


def test_the_dataset_loads_under_its_three_names(paired: Path, tmp_path: Path):
    folder = str(load_run(paired).round(1).dataset)
    assert Path(folder).name == "run-round-1"
    sizes = {
        name: len(load_dataset(folder, name, split="train", cache_dir=str(tmp_path / "cache")))
        for name in ("samples", "pairs", "kto")
    }
    assert sizes == {"samples": 16, "pairs": 8, "kto": 16}


def test_training_moves_every_adapter_parameter_from_a_loss_of_ln_2(trained: Path):
    log = json.loads((trained / "rounds" / "1" / "training" / "log.json").read_text())
    assert log[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    stage = json.loads((trained / "manifest.json").read_text())["stages"]["train_1"]
    assert stage["base_unchanged"] is True
    assert stage["parameters_moved"] == "28 of 28"
    assert stage["steps"] == 6


def test_the_adapter_loads_with_peft_and_changes_the_model(trained: Path, tiny_folder: Path):
    adapter = load_run(trained).last.adapter
    assert not list(adapter.glob("*.bin"))
    assert all(name.endswith("weight") for name in load_file(adapter / "adapter_model.safetensors"))
    model, tokenizer = load_model(str(tiny_folder))
    ids = tokenizer("1, 2", return_tensors="pt").input_ids
    with torch.inference_mode():
        base = model(ids).logits
        tuned = PeftModel.from_pretrained(model, adapter)(ids).logits
    assert not torch.equal(base, tuned)


def test_all_weights_can_be_trained_without_an_adapter(tiny_folder: Path, tmp_path: Path):
    training = {"dpo": {"per_device_train_batch_size": 4, "max_steps": 2, "save_strategy": "no"}, "lora": None}
    file = write_config(tmp_path / "full.yaml", tiny_folder, training=training)
    run = tmp_path / "full"
    arguments = ["--config", str(file), "--run", str(run)]
    do(arguments, "tasks")
    plant_samples(arguments)
    do(arguments, "pair", "train")
    do([*arguments, "--phase", "after"], "evaluate")
    assert (run / "rounds" / "1" / "adapter" / "model.safetensors").exists()
    assert json.loads((run / "metrics.json").read_text())["after"]


def test_tasks_of_the_users_own_go_the_same_way(tiny_folder: Path, tmp_path: Path):
    """A schema and no target: passing means valid under the schema, and nothing counts as an exact match."""
    schema = {"type": "array", "items": {"type": "integer"}}
    rows = [json.dumps({"prompt": f"list {n}", "schema": schema}) for n in range(8)]
    (tmp_path / "mine.jsonl").write_text("\n".join(rows))
    file = write_config(tmp_path / "own.yaml", tiny_folder, tasks={"files": [str(tmp_path / "mine.jsonl")]})
    run = tmp_path / "own"
    arguments = ["--config", str(file), "--run", str(run)]
    do(arguments, "tasks")
    answers = ["[1]", '["a"]', "[2, 3]", "no"]
    trained = [task.id for task in load_run(run).iterate_tasks("train")]
    given = [json.dumps({"task_id": name, "completion": text}) for name in trained for text in answers]
    (tmp_path / "given.jsonl").write_text("\n".join(given))
    do([*arguments, "--completions", str(tmp_path / "given.jsonl")], "verify")
    do(arguments, "pair", "evaluate")
    pairs = load_dataset(str(load_run(run).round(1).dataset), "pairs", split="train", cache_dir=str(tmp_path / "cache"))
    assert {pair["chosen"][0]["content"] for pair in pairs} == {"[1]", "[2, 3]"}
    cell = json.loads((run / "metrics.json").read_text())["before"]["zero_shot"]["mine"]
    assert cell["schema_valid"]["total"] == cell["pass_rate"]["total"] > 0
    assert cell["exact_match"] == {"count": 0, "total": 0, "rate": None, "low": None, "high": None}
