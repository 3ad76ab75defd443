from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from pipelines.config import ModelConfig, TrainingConfig, load_config
from pipelines.errors import ConfigError
from pipelines.run.walk import launcher_config, launcher_environment
from pipelines.training.arguments import lora_arguments, trainer_arguments

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"


EXPERIMENTS = [path for path in sorted(CONFIGS.glob("*.yaml")) if path.stem != "compare-methods"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_shipped_training_section_is_one_that_the_libraries_take(path: Path, tmp_path: Path):
    config = load_config(path)
    arguments = trainer_arguments(config.training, ModelConfig(device="cpu"), tmp_path, seed=3)
    assert (arguments.seed, arguments.use_cpu, arguments.report_to) == (3, True, [])
    assert lora_arguments(config.training).r == config.training.lora["r"]


def test_an_evaluation_during_training_without_a_set_for_it_is_refused(tmp_path: Path):
    training = TrainingConfig(dpo={"eval_strategy": "steps", "eval_steps": 5})
    with pytest.raises(ConfigError, match=r"training\.dpo\.eval_strategy must be 'no'"):
        trainer_arguments(training, ModelConfig(device="cpu"), tmp_path, seed=0)


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_launcher_config_is_one_that_accelerate_takes(path: Path):
    assert load_config_from_file(str(path)).num_processes >= 1


def test_a_name_a_file_and_auto_find_a_launcher_config(tmp_path: Path):
    config = load_config(CONFIGS / "default.yaml", ["training.accelerate=zero3"])
    assert launcher_config(config).name == "zero3.yaml"
    file = tmp_path / "mine.yaml"
    file.write_text("num_processes: 1\n")
    assert launcher_config(load_config(CONFIGS / "default.yaml", [f"training.accelerate={file}"])) == file
    assert launcher_config(load_config(CONFIGS / "default.yaml", ["model.device=cpu"])).name == "cpu.yaml"


def test_an_unknown_launcher_config_lists_those_there_are():
    with pytest.raises(ConfigError, match="one of cpu, fsdp2, multi_cpu, multi_gpu, single_gpu, zero3; got 'tpu'"):
        launcher_config(load_config(CONFIGS / "default.yaml", ["training.accelerate=tpu"]))


def test_processes_on_cpus_are_told_to_form_a_group():
    config = load_config(CONFIGS / "default.yaml", ["training.accelerate=cpu"])
    assert launcher_environment(config)["ACCELERATE_USE_CPU"] == "true"
    on_gpu = load_config(CONFIGS / "default.yaml", ["training.accelerate=single_gpu"])
    assert launcher_environment(on_gpu) == {}


def test_no_lora_section_trains_all_weights():
    assert lora_arguments(TrainingConfig(lora=None)) is None
