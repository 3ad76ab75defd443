"""A run of two rounds on the tiny model: the second samples from, and trains on, what the first left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pipelines.config import load_config
from pipelines.errors import ConfigError
from pipelines.run.folder import Run
from pipelines.run.stages import plan
from pipelines.samples.store import read_batches
from tests.stages.conftest import do, load_run, plant_samples, write_config

LATER = {"sampling": {"few_shot": 0}, "training": {"replay_per_family": 7}}


@pytest.fixture(scope="module")
def first_round(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A folder with a config of two rounds and its run after the first."""
    folder = tmp_path_factory.mktemp("rounds")
    file = write_config(folder / "rounds.yaml", tiny_folder, rounds=2, later_rounds=LATER)
    arguments = ["--config", str(file), "--run", str(folder / "run"), "--round", "1"]
    do(arguments[:4], "tasks")
    plant_samples(arguments[:4], number=1)
    do(arguments, "pair", "train")
    return folder


@pytest.fixture
def run(first_round: Path, tmp_path: Path) -> Run:
    return load_run(shutil.copytree(first_round / "run", tmp_path / "run"))


@pytest.fixture
def arguments(first_round: Path, run: Run) -> list[str]:
    return ["--config", str(first_round / "rounds.yaml"), "--run", str(run.root)]


def test_each_round_has_a_folder_and_stages_of_its_own(run: Run):
    assert (run.root / "rounds" / "1" / "adapter" / "adapter_model.safetensors").exists()
    assert not run.last.adapter.exists()
    assert {"pair_1", "train_1"} <= run.manifest()["stages"].keys()


def test_the_second_round_samples_from_the_first_ones_adapter(arguments: list[str], run: Run):
    do(arguments, "sample")
    settings = next(read_batches(run.last.samples)).settings
    assert "adapter_sha256" in settings["policy"]
    assert len(settings["messages"]) == 1  # zero-shot, as later_rounds has it


def test_the_second_round_trains_on_from_the_first_ones_adapter(arguments: list[str], run: Run):
    plant_samples(arguments, number=2)
    do(arguments, "pair", "train")
    log = json.loads((run.last.training / "log.json").read_text())
    assert log[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    first, second = (load_file(place.adapter / "adapter_model.safetensors") for place in run.every_round)
    assert first.keys() == second.keys()
    drift = max(float((second[name] - value).abs().max()) for name, value in first.items())
    assert 0 < drift < 0.2
    assert not (run.last.adapter / "ref").exists()
    shown = json.loads((run.last.training / "worked_pair.json").read_text())
    assert shown["before"] == pytest.approx(shown["reference"], abs=1e-3)
    assert shown["after"]["chosen_logp"] > shown["before"]["chosen_logp"]


def test_what_no_longer_fails_is_trained_on_again(complaint, arguments: list[str], run: Run):
    tasks = plant_samples(arguments, number=2, without_fault=3)
    assert len(tasks) == 4
    do(arguments, "pair", "train")
    stages = run.manifest()["stages"]
    each = stages["pair_1"]["pairs"] // 4
    assert (stages["train_1"]["pairs"], stages["train_1"]["replayed_pairs"]) == (4 * each, 0)
    assert (stages["pair_2"]["pairs"], stages["train_2"]["replayed_pairs"]) == (each, min(3 * each, 7 - each))
    assert stages["train_2"]["pairs"] == each + stages["train_2"]["replayed_pairs"]
    shutil.rmtree(run.round(1).dataset)
    assert "attend-and-prefer pair" in complaint("train", arguments)


def test_a_round_without_the_one_before_names_what_to_run(complaint, arguments: list[str], run: Run):
    shutil.rmtree(run.round(1).adapter)
    assert "run `attend-and-prefer train --round 1" in complaint("sample", arguments)


def test_a_round_there_is_none_of_is_refused(complaint, arguments: list[str]):
    assert "--round must be 1 to 2, got 3" in complaint("sample", [*arguments, "--round", "3"])


def test_rounds_are_all_alike_in_the_plan(tmp_path: Path):
    names = [stage.name for stage in plan(Run(tmp_path, rounds=2))]
    assert names[3:9] == ["sample_1", "pair_1", "train_1", "sample_2", "pair_2", "train_2"]


def test_a_later_training_reads_the_datasets_of_all_rounds_before_it(tmp_path: Path):
    run = Run(tmp_path, rounds=3)
    (third,) = [stage for stage in plan(run) if stage.name == "train_3"]
    assert set(third.reads) == {
        *(place.dataset for place in run.every_round),
        run.round(1).adapter,
        run.round(2).adapter,
    }


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
