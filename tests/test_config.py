from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import Config, config_from_dict, config_to_dict, load_config, parse_yaml
from pipelines.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent


EXPERIMENTS = [path for path in sorted((ROOT / "configs").glob("*.yaml")) if path.stem != "compare-methods"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_shipped_config_loads_and_survives_a_round_trip(path: Path):
    config = load_config(path)
    assert config_from_dict(config_to_dict(config)) == config


def test_an_unknown_key_is_named_with_its_section_and_the_nearest_valid_one():
    with pytest.raises(ConfigError, match="unknown key 'batchsize' in section 'sampling'; did you mean 'batch_size'"):
        config_from_dict({"sampling": {"batchsize": 4}})


def test_an_unknown_section_is_named_with_the_nearest_valid_one():
    with pytest.raises(ConfigError, match="unknown key 'trainin' in the config; did you mean 'training'"):
        config_from_dict({"trainin": {}})


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"seed": "5"}, "seed must be of type int, got '5'"),
        ({"seed": True}, "seed must be of type int, got True"),
        ({"model": {"dtype": "half"}}, "model.dtype must be one of auto, float32"),
        ({"sampling": {"samples_per_task": 0}}, "samples_per_task must be at least 1, got 0"),
        ({"sampling": {"few_shot_share": 1.5}}, r"few_shot_share must be in \[0, 1\], got 1.5"),
        ({"training": {"few_shot": -1}}, "training.few_shot must be at least 0, got -1"),
        ({"evaluation": {"few_shot_share": 0.5}}, "evaluation.few_shot_share must be left out"),
        ({"tasks": {"families": {"range": {"train": -1}}}}, r"train must be >= 0, got -1"),
        ({"tasks": {"families": {"range": 5}}}, "tasks.families.range must be a mapping, got 5"),
        ({"tasks": {"files": "tasks.jsonl"}}, "tasks.files must be a list, got 'tasks.jsonl'"),
    ],
)
def test_a_bad_value_is_named_with_its_rule(tree: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        config_from_dict(tree)


def test_scientific_notation_is_a_number():
    assert parse_yaml("rate: 5e-7", "text") == {"rate": 5e-7}


def test_a_key_given_twice_is_refused_with_its_place():
    with pytest.raises(ConfigError, match=r"file.yaml:1:1: key 'seed' is given twice"):
        parse_yaml("seed: 1\nseed: 2", "file.yaml")


def test_yaml_that_would_build_python_objects_is_refused():
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        parse_yaml("!!python/object/apply:os.system ['true']", "file.yaml")


def test_overrides_reach_nested_keys(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("sampling: {samples_per_task: 3}\n")
    config = load_config(file, ["sampling.samples_per_task=7", "training.dpo.learning_rate=1e-5"])
    assert config.sampling.samples_per_task == 7
    assert config.training.dpo == {"learning_rate": 1e-5}


def test_an_override_without_a_value_says_how_it_is_written(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("")
    with pytest.raises(ConfigError, match="--set must be section.key=value, got 'seed'"):
        load_config(file, ["seed"])


def test_a_missing_file_is_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")


def test_an_empty_file_is_the_defaults(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("")
    assert load_config(file) == Config()
