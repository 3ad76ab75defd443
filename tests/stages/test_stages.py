from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from datasets import load_dataset
from peft import PeftModel
from safetensors.torch import load_file

from pipelines.models import load_model


def test_sampling_leaves_the_wanted_completions_and_the_same_again(do, arguments: list[str], tmp_path: Path):
    do(arguments, "build_tasks", "sample_completions")
    file = tmp_path / "run" / "samples" / "completions.jsonl"
    first = file.read_bytes()
    assert len(first.splitlines()) == 4 * 4
    do(arguments, "sample_completions")
    assert file.read_bytes() == first


def test_verdicts_follow_the_completions_line_by_line(do, arguments: list[str], planted: Path):
    do(arguments, "judge_completions")
    rows = [json.loads(line) for line in (planted / "samples" / "verdicts.jsonl").read_text().splitlines()]
    assert [(row["parses"], row["exact"]) for row in rows[:4]] == [
        (True, True),
        (True, False),
        (False, False),
        (False, False),
    ]
    assert rows[3]["reason"] == "truncated"


def test_the_dataset_loads_under_its_three_names(do, arguments: list[str], planted: Path, tmp_path: Path):
    do(arguments, "judge_completions", "build_preferences")
    sizes = {
        name: len(load_dataset(str(planted / "dataset"), name, split="train", cache_dir=str(tmp_path / "cache")))
        for name in ("samples", "pairs", "kto")
    }
    assert sizes == {"samples": 16, "pairs": 8, "kto": 12}


def test_training_moves_every_adapter_parameter_from_a_loss_of_ln_2(do, arguments: list[str], planted: Path):
    do(arguments, "judge_completions", "build_preferences", "train_dpo")
    log = json.loads((planted / "training" / "log.json").read_text())
    assert log[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    stage = json.loads((planted / "manifest.json").read_text())["stages"]["train"]
    assert stage["base_unchanged"] is True
    assert stage["parameters_moved"] == "28 of 28"
    assert stage["steps"] == 6


def test_the_adapter_loads_with_peft_and_changes_the_model(do, arguments: list[str], planted: Path, tiny_folder: Path):
    do(arguments, "judge_completions", "build_preferences", "train_dpo")
    adapter = planted / "adapter"
    assert not list(adapter.glob("*.bin"))
    assert all(name.endswith("weight") for name in load_file(adapter / "adapter_model.safetensors"))
    model, tokenizer = load_model(str(tiny_folder))
    ids = tokenizer("1, 2", return_tensors="pt").input_ids
    with torch.inference_mode():
        base = model(ids).logits
        tuned = PeftModel.from_pretrained(model, adapter)(ids).logits
    assert not torch.equal(base, tuned)


def test_a_whole_run_leaves_what_the_contract_names(do, arguments: list[str], planted: Path):
    do(arguments, "judge_completions", "build_preferences", "train_dpo", "probe_attention", "evaluate_policy")
    do([*arguments, "--phase", "after"], "probe_attention", "evaluate_policy")
    do(arguments, "render_report")
    names = {path.name for path in planted.iterdir()}
    assert {
        "config.yaml",
        "manifest.json",
        "attention",
        "samples",
        "dataset",
        "adapter",
        "metrics.json",
        "report.html",
    } <= names
    metrics = json.loads((planted / "metrics.json").read_text())
    cell = metrics["after"]["bare"]["range"]["exact"]
    assert set(cell) == {"count", "total", "rate", "low", "high"}
    assert cell["total"] == 2 * 2
    assert {"overall", "range", "record"} == set(metrics["before"]["worked_examples"])
    assert metrics["chat"]["kl_nats_per_token"] > 0
    assert {"prompt", "before", "after"} == set(
        json.loads((planted / "evaluation" / "chat.json").read_text())["answers"][0]
    )


def test_all_weights_can_be_trained_without_an_adapter(do, arguments: list[str], planted: Path, config_file: Path):
    shutil.rmtree(planted / "dataset", ignore_errors=True)
    config = config_file.read_text().replace("target_modules: all-linear", "x: y")
    tree = yaml.safe_load(config)
    tree["training"]["lora"] = None
    other = config_file.with_name("full.yaml")
    other.write_text(yaml.safe_dump(tree))
    run = planted.with_name("full")
    arguments = ["--config", str(other), "--run", str(run)]
    do(arguments, "build_tasks")
    shutil.copy(planted / "samples" / "completions.jsonl", run / "samples" / "completions.jsonl")
    do(arguments, "judge_completions", "build_preferences", "train_dpo")
    do([*arguments, "--phase", "after"], "evaluate_policy")
    assert (run / "adapter" / "model.safetensors").exists()
    assert json.loads((run / "metrics.json").read_text())["after"]


def test_tasks_of_the_users_own_go_the_same_way(do, config_file: Path, tmp_path: Path):
    """A schema and no target: passing means valid under the schema, and nothing counts as exact."""
    schema = {"type": "array", "items": {"type": "integer"}}
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"list {n}", "schema": schema}) + "\n" for n in range(8)))
    tree = yaml.safe_load(config_file.read_text())
    tree["tasks"] = {"files": [str(file)]}
    config_file.write_text(yaml.safe_dump(tree))
    run = tmp_path / "mine"
    arguments = ["--config", str(config_file), "--run", str(run)]
    do(arguments, "build_tasks", "sample_completions")
    completions = run / "samples" / "completions.jsonl"
    rows = [json.loads(line) for line in completions.read_text().splitlines()]
    answers = ["[1]", '["a"]', "[2, 3]", "no"]
    planted = [{**row, "text": answers[row["index"]], "finish_reason": "stop"} for row in rows]
    completions.write_text("".join(json.dumps(row) + "\n" for row in planted))
    do(arguments, "judge_completions", "build_preferences", "evaluate_policy")
    pairs = load_dataset(str(run / "dataset"), "pairs", split="train", cache_dir=str(tmp_path / "cache"))
    assert {pair["chosen"][0]["content"] for pair in pairs} <= {"[1]", "[2, 3]"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["before"]["bare"]["mine"]["schema_valid"]["total"] > 0
    assert metrics["before"]["bare"]["mine"]["exact"] == {
        "count": 0,
        "total": 0,
        "rate": None,
        "low": None,
        "high": None,
    }
