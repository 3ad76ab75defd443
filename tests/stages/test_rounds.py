"""A run of two rounds on the tiny model: the second samples from, and trains on, what the first left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from pipelines.config import load_config
from pipelines.errors import ConfigError
from pipelines.records import Task, dump_lines, load_lines
from pipelines.run.stages import plan
from tests.stages.conftest import plant


def plant_samples(run: Path, folder: Path, *, without_fault: int = 0) -> list[Task]:
    """Samples of every training task, of the first ones only those that pass; returns the tasks."""
    tasks = [task for task in load_lines(Task, run / "samples" / "tasks.jsonl") if task.split == "train"]
    rows = [row for index, task in enumerate(tasks) for row in plant(task)[: 1 if index < without_fault else None]]
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    (folder / "samples" / "completions.jsonl").write_text(dump_lines(rows))
    return tasks


@pytest.fixture
def two_rounds(do, config_file: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    tree = yaml.safe_load(config_file.read_text())
    config_file.write_text(yaml.safe_dump({**tree, "rounds": 2, "later_rounds": {"sampling": {"worked_examples": 0}}}))
    run, arguments = tmp_path / "run", ["--config", str(config_file), "--run", str(tmp_path / "run")]
    do(arguments, "build_tasks")
    plant_samples(run, run / "rounds" / "1")
    do([*arguments, "--round", "1"], "judge_completions", "build_preferences", "train_dpo")
    return run, arguments


def test_the_first_round_is_kept_apart(two_rounds: tuple[Path, list[str]]):
    run, _ = two_rounds
    assert (run / "rounds" / "1" / "adapter" / "adapter_model.safetensors").exists()
    assert not (run / "adapter").exists()
    assert set(json.loads((run / "manifest.json").read_text())["stages"]) >= {"judge_1", "pair_1", "train_1"}


def test_the_second_round_samples_from_the_first_ones_adapter(do, two_rounds: tuple[Path, list[str]]):
    run, arguments = two_rounds
    do(arguments, "sample_completions")
    (journal,) = (run / "samples" / "journal").glob("*.jsonl")
    settings = json.loads(journal.read_text().splitlines()[0])["settings"]
    assert "adapter_sha256" in settings["policy"]
    assert len(settings["messages"]) == 1  # bare, as later_rounds has it


def test_the_second_round_trains_on_from_the_first_ones_adapter(do, two_rounds: tuple[Path, list[str]]):
    run, arguments = two_rounds
    plant_samples(run, run)
    do(arguments, "judge_completions", "build_preferences", "train_dpo")
    log = json.loads((run / "training" / "log.json").read_text())
    assert log[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    first = load_file(run / "rounds" / "1" / "adapter" / "adapter_model.safetensors")
    second = load_file(run / "adapter" / "adapter_model.safetensors")
    assert first.keys() == second.keys()
    drift = max(float((second[name] - value).abs().max()) for name, value in first.items())
    assert 0 < drift < 0.2
    assert not (run / "adapter" / "ref").exists()
    shown = json.loads((run / "training" / "worked_pair.json").read_text())
    assert shown["before"] == pytest.approx(shown["reference"], abs=1e-3)
    assert shown["after"]["chosen_logp"] > shown["before"]["chosen_logp"]


def test_what_no_longer_fails_is_trained_on_again(do, complaint, config_file: Path, tmp_path: Path):
    tree = yaml.safe_load(config_file.read_text())
    later = {"rounds": 2, "later_rounds": {"training": {"replay_per_family": 7}}, "preferences": {"test_fraction": 0.0}}
    config_file.write_text(yaml.safe_dump({**tree, **later}))
    run, arguments = tmp_path / "run", ["--config", str(config_file), "--run", str(tmp_path / "run")]
    do(arguments, "build_tasks")
    plant_samples(run, run / "rounds" / "1")
    do([*arguments, "--round", "1"], "judge_completions", "build_preferences", "train_dpo")
    tasks = plant_samples(run, run, without_fault=3)
    assert len(tasks) == 4
    do(arguments, "judge_completions", "build_preferences", "train_dpo")
    stages = json.loads((run / "manifest.json").read_text())["stages"]
    each = stages["pair_1"]["pairs"] // 4
    assert (stages["train_1"]["pairs"], stages["train_1"]["replayed_pairs"]) == (4 * each, 0)
    assert (stages["pair"]["pairs"], stages["train"]["replayed_pairs"]) == (each, min(3 * each, 7 - each))
    assert stages["train"]["pairs"] == each + stages["train"]["replayed_pairs"]
    shutil.rmtree(run / "rounds" / "1" / "dataset")
    assert "build_preferences.py" in complaint("train_dpo", arguments)


def test_a_round_without_the_one_before_names_what_to_run(complaint, two_rounds: tuple[Path, list[str]]):
    run, arguments = two_rounds
    shutil.rmtree(run / "rounds" / "1" / "adapter")
    assert "--round 1" in complaint("sample_completions", arguments)


def test_a_plan_of_two_rounds_gives_the_last_the_runs_own_folder():
    names = [stage.name for stage in plan(2)]
    assert names[3:11] == ["sample_1", "judge_1", "pair_1", "train_1", "sample", "judge", "pair", "train"]
    (last,) = [stage for stage in plan(2) if stage.name == "sample"]
    assert last.inputs == ("samples/tasks.jsonl", "rounds/1/adapter")
    assert last.outputs == ("samples/completions.jsonl",)


def test_a_later_training_reads_the_datasets_of_all_rounds_before_it():
    (third,) = [stage for stage in plan(3) if stage.name == "train"]
    assert third.inputs == ("dataset", "rounds/2/adapter", "rounds/1/dataset", "rounds/2/dataset")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rounds: 0", "rounds must be at least 1"),
        ("later_rounds: {model: {name: x}}", "later_rounds must be of the sections"),
        ("later_rounds: {training: {replay_per_family: 0}}", "replay_per_family must be null or at least 1"),
        ("training: {replay_per_family: 9, method: kto}", "replay_per_family must be null but for dpo and sft"),
        ("training: {replay_per_family: 9, dataset: pairs}", "replay_per_family must be null but for dpo and sft"),
        ("later_rounds: {training: {lr: 1}}", "unknown key 'lr' in section 'training'"),
        ("{rounds: 2, sampling: {server: {url: 'http://x', model: y}}}", "sampling.server must be null in later"),
    ],
)
def test_mistakes_in_rounds_are_named(tmp_path: Path, text: str, said: str):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(file)
