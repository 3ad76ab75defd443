"""A comparison's YAML: each method's config, and mistakes that are named before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines.comparison import load_comparison
from pipelines.config import ModelConfig
from pipelines.errors import ConfigError
from pipelines.training.arguments import trainer_arguments

ROOT = Path(__file__).resolve().parent.parent.parent
TREE = {
    "seeds": [3, 4],
    "methods": {"dpo": None, "sft": {"method": "sft"}, "ipo": {"dpo": {"loss_type": ["ipo"]}}},
    "experiment": {"training": {"dpo": {"loss_type": ["sigmoid"], "beta": 0.2}}},
}


@pytest.fixture
def load(tmp_path: Path):
    def read(overrides=(), **changes):
        file = tmp_path / "methods.yaml"
        file.write_text(yaml.safe_dump({**TREE, **changes}))
        return load_comparison(file, overrides)

    return read


def test_a_method_changes_what_it_names_and_nothing_else(load):
    comparison = load()
    ipo, dpo = comparison.config("ipo", 4), comparison.config("dpo", 4)
    assert ipo.training.dpo == {"loss_type": ["ipo"], "beta": 0.2}
    assert dpo.training.dpo == {"loss_type": ["sigmoid"], "beta": 0.2}
    assert comparison.config("sft", 3).training.method == "sft"
    assert (ipo.seed, ipo.tasks, ipo.sampling) == (4, dpo.tasks, dpo.sampling)


def test_overrides_reach_the_experiment(load):
    changed = load(["experiment.sampling.samples_per_task=5"])
    assert {changed.config(name, 3).sampling.samples_per_task for name in changed.methods} == {5}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": {"dpo": {}}}, "methods must be at least two"),
        ({"methods": {"dpo": {}, "../sft": {}}}, r"names of a-z, 0-9, _ and -, got '\.\./sft'"),
        ({"methods": {"dpo": {}, "sft": {"methd": "sft"}}}, "method 'sft': unknown key 'methd'"),
        ({"methods": {"dpo": {}, "sft": {"method": "smt"}}}, "method 'sft': training.method must be one of"),
        ({"methods": [1]}, "methods must be a mapping"),
        ({"seeds": [1, 1]}, "seeds must be different"),
        ({"seeds": []}, "seeds must be at least one"),
        ({"experiment": {"seed": 1}}, "experiment.seed must be left out"),
        ({"experiment": {"rounds": 2}}, "experiment.rounds must be 1"),
        ({"expriment": {}}, "unknown key 'expriment'"),
    ],
)
def test_a_mistake_is_named(load, changes: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        load(**changes)


def test_a_file_without_methods_is_sent_to_the_shipped_one(tmp_path: Path):
    file = tmp_path / "plain.yaml"
    file.write_text("seed: 1\n")
    with pytest.raises(ConfigError, match=r"no 'methods'; see configs/compare-methods\.yaml"):
        load_comparison(file)


def test_the_shipped_comparison_has_every_method_as_the_libraries_take_it_on_at_least_two_seeds(tmp_path: Path):
    comparison = load_comparison(ROOT / "configs" / "compare-methods.yaml")
    for name in comparison.methods:
        config = comparison.config(name, comparison.seeds[0])
        assert trainer_arguments(config.training, ModelConfig(device="cpu"), tmp_path, seed=3).max_steps > 0
    trainers = {comparison.config(name, comparison.seeds[0]).training.method for name in comparison.methods}
    assert trainers == {"dpo", "sft", "kto", "grpo"}
    assert len(comparison.seeds) >= 2
